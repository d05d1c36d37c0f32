"""What the legacy database says of an inverse's tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from medferry.definition.inverses import faults_in_legacy
from medferry.definition.migration import load_migration
from medferry.source.database import connect_engine
from medferry.source.legacy_table import LegacyTable, legacy_table
from tests import tiny_platform


@pytest.fixture
def legacy(tmp_path: object) -> sa.Engine:
    url = f"sqlite:///{tmp_path}/legacy.db"
    tiny_platform.fill(url)
    return connect_engine(url)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (legacy_table("patient", key="id", columns=["family"]), []),
        (legacy_table("patients", key="id", columns=["family"]), ["the legacy database has no table patients."]),
        (legacy_table("patient", key={"nr": "id"}, columns=["family"]), ["the table patient has no column nr."]),
        (
            legacy_table("patient", key="id", columns={"family": "name"}, touched="at", removed="gone_at"),
            [f"the table patient has no column {name}." for name in ("name", "at", "gone_at")],
        ),
        (
            legacy_table("patient", key="id", columns=["family"], only={"kind": "H"}, new={"x": 1}),
            [f"the table patient has no column {name}." for name in ("kind", "x")],
        ),
    ],
)
def test_tables_and_columns_must_be_there(legacy: sa.Engine, table: LegacyTable, told: list[str]) -> None:
    migration = load_migration(tiny_platform.MIGRATION)
    inverse = replace(migration.inverses["patient"], tables=(table,))
    with legacy.connect() as connection:
        faults = list(faults_in_legacy(connection, migration.entities["patient"], inverse))
    assert [problem for problem, _ in faults] == told
    assert all(remedy for _, remedy in faults)
