"""One small and dirty legacy database for all tests of the generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics.generate import fill
from demo_clinics.schema import ENTITIES, METADATA
from demo_clinics.truth import Truth, read_expectations

PATIENTS = 240
PACE = 4.0
SEED = 7


@dataclass
class LegacyReader:
    """A filled database, its truth, and the rows as stored, read by key."""

    url: str
    truth: Truth
    truth_path: Path
    tables: dict[str, list[dict[str, Any]]]

    def row(self, entity: str, key: str) -> dict[str, Any]:
        return self.by_key[entity][key]

    def rows(self, entity: str) -> list[dict[str, Any]]:
        return self.tables[ENTITIES[entity][0]]

    def __post_init__(self) -> None:
        self.by_key = {
            entity: {str(row[key]): row for row in self.tables[table]} for entity, (table, key) in ENTITIES.items()
        }
        self.failed = {(row["entity"], row["key"]): row for row in self.truth.rows}
        self.expected = list(read_expectations(self.truth_path.with_name("truth.expected.ndjson.gz")))

    def keys_of(self, entity: str, kind: str) -> set[str]:
        """Rows that are not successful because of the kind, or whose finding it is."""
        told = [*self.truth.rows, *self.truth.findings]
        return {str(row["key"]) for row in told if row["entity"] == entity and row["kind"] == kind}


def read_tables(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables by key; text that is not UTF-8 arrives with U+FFFD."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", lambda raw, _: setattr(raw, "text_factory", _tolerant))
    with engine.connect() as connection:
        found = {
            name: [dict(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()]
            for name, table in METADATA.tables.items()
        }
    engine.dispose()
    return found


def _tolerant(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


@pytest.fixture(scope="package")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LegacyReader]:
    folder = tmp_path_factory.mktemp("legacy")
    url = f"sqlite:///{folder / 'legacy.db'}"
    engine = sa.create_engine(url)
    truth = fill(engine, SEED, PATIENTS, pace=PACE, truth_path=folder / "truth.json")
    engine.dispose()
    yield LegacyReader(url, truth, folder / "truth.json", read_tables(url))
