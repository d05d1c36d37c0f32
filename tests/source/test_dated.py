"""Periods that follow each other hold every row once, whatever the type of the date and the engine."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.plan.periods import Period
from medferry.source.database import snapshot
from medferry.source.dated import keys_of_period
from medferry.source.entity import SourceEntity

BOUNDS = [None, date(2024, 2, 1), date(2024, 2, 29), date(2024, 3, 1), None]
ROWS = {
    1: None,
    2: "1899-12-31 00:00:00",
    3: "2024-01-31 23:59:59",
    4: "2024-02-01 00:00:00",
    5: "2024-02-28 23:59:59",
    6: "2024-02-29 00:00:00",
    7: "2024-02-29 12:00:00",
    8: "2024-03-01 00:00:00",
    9: "2999-01-01 00:00:00",
}
EXPECTED = [{"1", "2", "3"}, {"4", "5"}, {"6", "7"}, {"8", "9"}]
TYPES = {
    "sqlite": ["TEXT", "TIMESTAMP"],
    "postgresql": ["timestamp", "timestamptz", "date", "text"],
    "mariadb": ["DATETIME", "DATE", "VARCHAR(30)"],
}


@pytest.fixture
def entity() -> SourceEntity:
    sql = "SELECT id, unit, at FROM dated"
    return SourceEntity("dated", Path("dated.sql"), ("id",), "unit", None, "Dated", sql, {}, "at")


def test_every_row_is_in_exactly_one_period(owner: sa.Connection, reader: sa.Engine, entity: SourceEntity) -> None:
    for kind in TYPES[reader.dialect.name]:
        owner.exec_driver_sql("DROP TABLE IF EXISTS dated")
        owner.exec_driver_sql(f"CREATE TABLE dated (id INTEGER, unit VARCHAR(9), at {kind} NULL)")
        for number, at in ROWS.items():
            zone = "+00" if kind == "timestamptz" else ""
            value = "NULL" if at is None else f"'{at}{zone}'"
            owner.exec_driver_sql(f"INSERT INTO dated VALUES ({number}, '{'u' if number != 5 else 'v'}', {value})")
        periods = [Period(start, end) for start, end in pairwise(BOUNDS)]
        with snapshot(reader) as view:
            found = [keys_of_period(view, entity, ["u", "v"], period) for period in periods]
            assert [set(keys) for keys in found] == EXPECTED, kind
            assert found[1] == {"4": "u", "5": "v"}
            assert set(keys_of_period(view, entity, ["v"], Period(None, None))) == {"5"}
            assert len(keys_of_period(view, entity, ["u", "v"], Period(None, None), limit=1)) == 1
    owner.exec_driver_sql("DROP TABLE dated")
