"""A column of integers that holds the units, in a plan that has a unit with a name, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.lookup import stream_keys
from medferry.source.slices import rows_of, units_held

PLAN = ["shared", "3", "-4", "0x"]
ENTITY = SourceEntity(
    "visit", Path("visit.sql"), ("id",), "unit", None, "Visit", "SELECT id, site AS unit FROM held_visits", {}
)


@pytest.fixture
def filled(owner: sa.Connection) -> None:
    owner.exec_driver_sql("DROP TABLE IF EXISTS held_visits")
    owner.exec_driver_sql("CREATE TABLE held_visits (id INTEGER PRIMARY KEY, site INTEGER)")
    owner.exec_driver_sql("INSERT INTO held_visits VALUES (1, 3), (2, 0), (3, -4), (4, 5)")


def read(connection: sa.Connection, units: Sequence[str]) -> list[int]:
    statement, values = rows_of(connection.dialect.name, ENTITY, units, None, None)
    return [row["id"] for row in stream(connection, statement, values)]


@pytest.mark.usefixtures("filled")
def test_a_column_of_integers_is_not_asked_for_a_name(reader: sa.Engine) -> None:
    with snapshot(reader) as connection:
        held = units_held(connection, ENTITY, PLAN)
        assert held == (PLAN if reader.dialect.name == "sqlite" else ["3", "-4"])
        assert read(connection, held)[:1] == [1]
        assert 2 not in read(connection, held)  # 0 is what MySQL takes a name for
        assert read(connection, units_held(connection, ENTITY, ["shared"])) == []
        assert [row["id"] for row in stream_keys(connection, ENTITY, PLAN, ["1", "2", "4"])] == [1]


@pytest.mark.usefixtures("filled")
def test_the_engine_would_not_take_it(reader: sa.Engine) -> None:
    if reader.dialect.name == "sqlite":
        pytest.skip("SQLite compares anything with anything")
    with pytest.raises(SourceError), snapshot(reader) as connection:
        read(connection, PLAN)
