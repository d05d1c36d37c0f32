"""The law of every inverse mapping: put(r, get(r)) = r. Nothing is written to a row that nobody edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from demo_clinics.generate import fill
from medferry.definition.migration import Migration
from medferry.mapping.inverse import RowChanges
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.slices import rows_of
from tests.clinics.golden import CASES, load
from tests.clinics.laws import back, clinics, mapped, strange_row

SEED, PATIENTS, PACE = 11, 60, 4.0


@pytest.fixture(scope="module")
def rows(migration: Migration, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Entity → the rows of a small legacy database with every kind of dirt."""
    folder: Path = tmp_path_factory.mktemp("laws")
    legacy = connect_engine(f"sqlite:///{folder}/legacy.db")
    fill(sa.create_engine(legacy.url), SEED, PATIENTS, pace=PACE, truth_path=folder / "truth.json")
    with snapshot(legacy) as connection:
        return {name: list(_rows(connection, migration, name)) for name in migration.inverses}


def _rows(connection: sa.Connection, migration: Migration, name: str) -> Iterator[dict[str, Any]]:
    entity = migration.entities[name]
    statement, values = rows_of(connection.dialect.name, entity, migration.plan.unit_ids, None, None)
    return stream(connection, statement, values)


def test_no_row_of_the_demo_changes_by_coming_back(migration: Migration, rows: dict[str, list[dict[str, Any]]]) -> None:
    looked_at: Counter[str] = Counter()
    for entity, some in rows.items():
        for row in some:
            if resources := mapped(migration, entity, row):
                looked_at[entity] += 1
                assert back(migration, entity, row, resources) == RowChanges(), entity
    assert set(looked_at) == set(migration.inverses)
    assert min(looked_at.values()) > 10


@pytest.mark.parametrize("case", CASES)
def test_no_golden_row_changes_by_coming_back(migration: Migration, case: str) -> None:
    entity = case.partition("/")[0]
    if entity in migration.inverses:
        row = load(case)["row"]
        assert back(migration, entity, row, mapped(migration, entity, row)) == RowChanges()


@settings(max_examples=600, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_strange_row_changes_by_coming_back(data: st.DataObject) -> None:
    migration = clinics("clinics")
    entity, row = data.draw(strange_row(migration))
    if resources := mapped(migration, entity, row):
        assert back(migration, entity, row, resources) == RowChanges()
