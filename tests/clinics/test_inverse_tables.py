"""The inverse mappings name tables and columns that the clinics' database has, of the types that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo_clinics.schema import METADATA
from medferry.definition.inverses import faults_in_legacy
from medferry.definition.migration import Migration
from medferry.source.database import connect_engine, snapshot
from medferry.source.legacy_table import legacy_table
from tests.clinics.test_whole_legacy import legacy_url


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb"])
def test_the_legacy_database_has_what_the_inverses_write(migration: Migration, engine: str, tmp_path: Path) -> None:
    with legacy_url(engine, tmp_path) as url:
        legacy = connect_engine(url)
        METADATA.create_all(legacy)
        with snapshot(legacy) as connection:
            for name, inverse in migration.inverses.items():
                assert list(faults_in_legacy(connection, migration.entities[name], inverse)) == [], name
            wrong = legacy_table("patients", key="patient_id", columns={"family_name": "pcp_staff_id"})
            entity, inverse = migration.entities["patient"], migration.inverses["patient"]
            faults = list(faults_in_legacy(connection, entity, type(inverse)("patient", (wrong,), inverse.function)))
            assert len(faults) == (0 if engine == "sqlite" else 1)
        legacy.dispose()
