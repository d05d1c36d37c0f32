"""The Synthea sample: unpacked, loaded, prepared and mapped, as a migration would do it, and its reference FHIR."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from medferry.definition.migration import Migration, load_migration
from medferry.definition.outline import MIGRATIONS_FOLDER
from medferry.mapping.apply import MappedRow
from medferry.source.count import count_by_unit
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.slices import rows_of
from medferry.stages.transform import map_row
from migrations.synthea.prepare import prepare

REPOSITORY = Path(__file__).resolve().parents[2]
ARCHIVE = REPOSITORY.parent / "shared" / "data" / "synthea-ma11-apache.tgz"

Resource = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """The sample after `prepare`: its files, its database, and a copy of the migration with the sample's units."""

    output: Path
    engine: sa.Engine
    migration: Migration
    loaded: dict[str, int]

    def rows(self, entity: str) -> list[dict[str, Any]]:
        """Every row of an entity in all units. Fails when a row is in no unit or a key is not unique."""
        source, units = self.migration.entities[entity], self.migration.plan.unit_ids
        with snapshot(self.engine) as connection:
            counted = count_by_unit(connection, source, units)
            statement, values = rows_of(self.engine.dialect.name, source, units, None, None)
            rows = list(stream(connection, statement, values))
        assert len(rows) == sum(counted.values())
        return rows

    def mapped(self, entity: str) -> list[MappedRow]:
        """Every row of an entity through its mapping and FHIR validation."""
        spec, source = self.migration.specs[entity], self.migration.entities[entity]
        return [map_row(spec, source, row, self.migration.settings) for row in self.rows(entity)]


def unpack(folder: Path) -> Path:
    """Unpack the archive and return Synthea's output folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/output"))


def load_sample(folder: Path, url: str) -> Sample:
    """Unpack, load and prepare the sample under `folder` with a copy of the migration, and read that migration."""
    output = unpack(folder)
    copy = folder / "synthea"
    shutil.copytree(MIGRATIONS_FOLDER / "synthea", copy)
    engine = connect_engine(url)
    loaded = prepare(engine, output / "csv", copy / "plan.yaml")
    return Sample(output, engine, load_migration(copy), loaded)


def reference_resources(output: Path) -> Iterator[Resource]:
    """Every resource of the FHIR that Synthea itself wrote."""
    for path in sorted((output / "fhir").glob("*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]:
            yield entry["resource"]
