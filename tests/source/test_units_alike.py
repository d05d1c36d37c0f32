"""Units that a column's collation takes for one: each has its own rows, and is written with its own wave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.plan.periods import Period
from medferry.source.count import count_by_unit
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.dated import keys_of_period
from medferry.source.entity import SourceEntity
from medferry.source.lookup import stream_keys
from medferry.source.slices import cut, rows_of

UNITS = {"North": [1, 4], "north": [2], "NORTH": [3], "Ñorth": [5, 6, 7]}
ENTITY = SourceEntity(
    "visit", Path("visit.sql"), ("id",), "unit", None, "Visit", "SELECT id, site AS unit FROM alike_visits", {}
)
COLUMNS = {
    "sqlite": "TEXT COLLATE NOCASE",
    "mysql": "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    "postgresql": "TEXT COLLATE alike",
}
ALIKE = "CREATE COLLATION alike (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """PostgreSQL is the system's: the one of the wheel knows no collation that takes two texts for one."""
    if request.param == "sqlite":
        (tmp_path / "alike.db").touch()
        yield filled(f"sqlite:///{tmp_path}/alike.db")
        return
    try:
        with {"postgresql": servers.postgresql, "mariadb": servers.mariadb}[request.param]() as server:
            yield filled(server.url)
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


def filled(url: str) -> sa.Engine:
    engine = sa.create_engine(url)
    name = engine.dialect.name
    with engine.begin() as owner:
        if name == "postgresql":
            owner.exec_driver_sql(ALIKE)
        column = COLUMNS["mysql" if name == "mariadb" else name]
        owner.exec_driver_sql(f"CREATE TABLE alike_visits (id INTEGER PRIMARY KEY, site {column})")
        owner.exec_driver_sql("CREATE INDEX alike_sites ON alike_visits (site)")
        for unit, keys in UNITS.items():
            for key in keys:
                owner.exec_driver_sql(f"INSERT INTO alike_visits VALUES ({key}, '{unit}')")
    engine.dispose()
    return connect_engine(url)


def test_each_unit_has_its_own_rows(reader: sa.Engine) -> None:
    with snapshot(reader) as connection:
        assert count_by_unit(connection, ENTITY, UNITS) == {unit: len(keys) for unit, keys in UNITS.items()}
        for unit, keys in UNITS.items():
            statement, values = rows_of(reader.dialect.name, ENTITY, [unit], None, None)
            assert [row["id"] for row in stream(connection, statement, values)] == keys
            assert [row["id"] for row in stream_keys(connection, ENTITY, [unit], [*"1234567"])] == keys
            assert keys_of_period(connection, ENTITY, [unit], Period(None, None)) == {str(key): unit for key in keys}
        statement, values = rows_of(reader.dialect.name, ENTITY, ["north", "NORTH", "nowhere"], None, None)
        assert [row["id"] for row in stream(connection, statement, values)] == [2, 3]
        statement, values = rows_of(reader.dialect.name, ENTITY, [], None, None)
        assert list(stream(connection, statement, values)) == []


def test_slices_of_a_unit_hold_its_rows_alone(reader: sa.Engine) -> None:
    with snapshot(reader) as connection:
        slices = cut(connection, ENTITY, {unit: len(keys) for unit, keys in UNITS.items()}, 1)
        for slice_ in slices:
            statement, values = rows_of(reader.dialect.name, ENTITY, slice_.units, slice_.low, slice_.high)
            assert len(list(stream(connection, statement, values))) == slice_.rows
    assert sum(slice_.rows for slice_ in slices) == 7
