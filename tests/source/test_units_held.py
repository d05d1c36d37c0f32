"""A column that holds the units and is no text, in a plan that has a unit with a name, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.count import count_by_unit
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


KINDS = {
    "postgresql": {
        "NUMERIC(10, 0)": ("3", "4"),
        "NUMERIC(10, 2)": ("3.50", "4.00"),
        "DOUBLE PRECISION": ("3", "4"),
        "REAL": ("3", "4.5"),
        "UUID": ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "BOOLEAN": ("true", "false"),
        "DATE": ("2020-01-01", "2021-01-01"),
        "held_sites": ("harbor", "hill"),
        "CHAR(9)": ("harbor", "hill"),
    },
    "mysql": {
        "DECIMAL(10, 0)": ("3", "4"),
        "DECIMAL(10, 2)": ("3.50", "4.00"),
        "DOUBLE": ("3", "4"),
        "FLOAT": ("3", "4.5"),
        "UUID": ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "DATE": ("2020-01-01", "2021-01-01"),
        "YEAR": ("2020", "2021"),
        "ENUM('harbor', 'hill')": ("harbor", "hill"),
        "SET('harbor', 'hill')": ("harbor", "hill"),
        "CHAR(9)": ("harbor", "hill"),
    },
    "sqlite": {"REAL": ("3", "4.5"), "TEXT": ("harbor", "hill")},
}


def test_a_column_of_any_kind_is_asked_for_what_it_can_hold(reader: sa.Engine, owner: sa.Connection) -> None:
    if owner.dialect.name == "postgresql":
        owner.exec_driver_sql("DROP TYPE IF EXISTS held_sites CASCADE")
        owner.exec_driver_sql("CREATE TYPE held_sites AS ENUM ('harbor', 'hill')")
    for kind, (first, second) in KINDS["mysql" if owner.dialect.name == "mariadb" else owner.dialect.name].items():
        owner.exec_driver_sql("DROP TABLE IF EXISTS held_visits")
        owner.exec_driver_sql(f"CREATE TABLE held_visits (id INTEGER PRIMARY KEY, site {kind})")
        owner.exec_driver_sql(f"INSERT INTO held_visits VALUES (1, '{first}'), (2, '{second}')")
        plan = [first, second, "shared", "nan", "infinity", "1e3", "1_000"]
        with snapshot(reader) as connection:
            counts = count_by_unit(connection, ENTITY, plan)
            assert counts == {first: 1, second: 1}, kind
            assert read(connection, units_held(connection, ENTITY, plan)) == [1, 2], kind
            assert read(connection, units_held(connection, ENTITY, [second, "shared"])) == [2], kind
            assert [row["id"] for row in stream_keys(connection, ENTITY, [first, "shared"], ["1", "2"])] == [1], kind


def test_bytes_name_no_unit(reader: sa.Engine, owner: sa.Connection) -> None:
    kinds = {"postgresql": ("BYTEA", "'h'"), "mariadb": ("BINARY(1)", "'h'"), "mysql": ("BINARY(1)", "'h'")}
    if owner.dialect.name not in kinds:
        pytest.skip("SQLite's columns have no type")
    kind, value = kinds[owner.dialect.name]
    owner.exec_driver_sql("DROP TABLE IF EXISTS held_visits")
    owner.exec_driver_sql(f"CREATE TABLE held_visits (id INTEGER PRIMARY KEY, site {kind})")
    owner.exec_driver_sql(f"INSERT INTO held_visits VALUES (1, {value})")
    with pytest.raises(SourceError, match=r"visit\.sql: the unit of visit, unit, is bytes"), snapshot(reader) as view:
        count_by_unit(view, ENTITY, ["h"])


@pytest.mark.usefixtures("filled")
def test_the_engine_would_not_take_it(reader: sa.Engine) -> None:
    if reader.dialect.name == "sqlite":
        pytest.skip("SQLite compares anything with anything")
    with pytest.raises(SourceError), snapshot(reader) as connection:
        read(connection, PLAN)
