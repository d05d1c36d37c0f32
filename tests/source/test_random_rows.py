"""Random schemas, types and values on each engine: extract → staged → read back equals what the engine says.

MEDFERRY_KEY_EXAMPLES asks for so many tables of each engine, new ones each time; without it there are the same 40.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo_clinics import database as servers
from medferry.runtime.staging import Staging, dump_row
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.session import POSTGRESQL as SETTINGS
from tests.source import catalogue, test_catalogue_mariadb, test_catalogue_postgresql, test_catalogue_sqlite

ASKED = int(os.environ.get("MEDFERRY_KEY_EXAMPLES", "0"))
SEARCH = settings(
    max_examples=ASKED or 40,
    derandomize=not ASKED,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

Strategy = st.SearchStrategy[Any]

# No NUL, which no engine's text holds, and no half of a pair.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.decimals(-(10**24), 10**24, places=5).map(str)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.dictionaries(TEXT, inner, max_size=3)
)


def whole(bits: int, signed: bool = True) -> Strategy:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


POSTGRESQL: dict[str, Strategy] = {
    "bool": st.booleans(),
    "int2": whole(16),
    "int4": whole(32),
    "int8": whole(64),
    "numeric": DECIMALS | st.sampled_from(["NaN", "Infinity"]),
    "float4": st.floats(width=32).map(repr),
    "float8": st.floats().map(repr),
    "text": TEXT,
    "varchar(12)": TEXT,
    "bytea": st.binary(max_size=9),
    "date": st.dates().map(str),
    "timestamp": st.datetimes().map(str),
    "timestamptz": st.datetimes(timezones=st.just(UTC)).map(str),
    "time": st.times().map(str),
    "uuid": st.uuids().map(str),
    "jsonb": JSON.map(json.dumps).filter(lambda text: "\\u0000" not in text),
    "bit(1)": st.sampled_from("01"),
    "text[]": st.lists(TEXT, max_size=3),
}

MARIADB: dict[str, Strategy] = {
    "TINYINT": whole(8),
    "INT UNSIGNED": whole(32, signed=False),
    "INT(10) ZEROFILL": whole(32, signed=False),
    "BIGINT": whole(64),
    "BIGINT UNSIGNED": whole(64, signed=False),
    "DECIMAL(40,5)": DECIMALS,
    "FLOAT": st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=False).map(repr),
    "DOUBLE": DOUBLES.filter(lambda value: value == 0 or abs(value) > 1e-300).map(repr),
    "BIT(64)": whole(64, signed=False),
    "VARCHAR(12)": TEXT,
    "LONGTEXT": TEXT,
    "VARBINARY(9)": st.binary(max_size=9),
    "DATE": st.dates().map(str) | st.just("0000-00-00"),
    "DATETIME(6)": st.datetimes().map(str),
    "TIME": st.times().map(lambda time: str(time.replace(microsecond=0))),
    "UUID": st.uuids().map(str),
}

SQLITE: dict[str, Strategy] = {
    kind: st.none() | whole(64) | st.floats(allow_nan=False) | TEXT | st.binary(max_size=9)
    for kind in ("INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB")
}


@dataclass(frozen=True)
class Engine:
    """One engine: how to write a value, its own text of a column, and whether a value is that text."""

    owner: sa.Connection
    reader: sa.Engine
    types: dict[str, Strategy]
    written: str
    text: Callable[[sa.Connection, str, str, str], Sequence[Any]]
    same: Callable[[str, Any, Any], bool]


@pytest.fixture(scope="module", params=["postgresql", "mariadb", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('random')}/x.db"
        yield from _opened(url, SQLITE, ":v", catalogue.sqlite_text, lambda _, *pair: _as_literal(*pair))
        return
    try:
        if request.param == "postgresql":
            with servers.embedded() as server:
                text, same = catalogue.postgresql_text, test_catalogue_postgresql.same
                yield from _opened(server.url, POSTGRESQL, "CAST(:v AS {kind})", text, same)
        else:
            with servers.mariadb() as server:
                yield from _opened(server.url, MARIADB, ":v", catalogue.mariadb_text, test_catalogue_mariadb.same)
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


def _as_literal(value: Any, literal: Any) -> bool:
    return test_catalogue_sqlite.same(value, str(literal))


def _opened(url: str, types: dict[str, Strategy], written: str, text: Any, same: Any) -> Iterator[Engine]:
    engine, reader = sa.create_engine(url, isolation_level="AUTOCOMMIT"), connect_engine(url)
    with engine.connect() as owner:
        if engine.dialect.name == "postgresql":
            for name, value in SETTINGS.items():
                owner.exec_driver_sql(f"SET {name} = {value}")
        elif engine.dialect.name != "sqlite":
            owner.exec_driver_sql("SET SESSION sql_mode = '', time_zone = '+00:00'")
        yield Engine(owner, reader, types, written, text, same)
    engine.dispose()
    reader.dispose()


@st.composite
def tables(draw: st.DrawFn, types: dict[str, Strategy]) -> tuple[list[str], list[list[Any]]]:
    """The types of some columns, and rows of values for them."""
    kinds = draw(st.lists(st.sampled_from(sorted(types)), min_size=1, max_size=6))
    return kinds, draw(st.lists(st.tuples(*(st.none() | types[kind] for kind in kinds)).map(list), max_size=4))


@SEARCH
@given(data=st.data())
def test_rows_are_read_back_as_the_engine_has_them(engine: Engine, tmp_path: Path, data: st.DataObject) -> None:
    kinds, rows = data.draw(tables(engine.types))
    owner = engine.owner
    columns = ", ".join(f"c{place} {kind}" for place, kind in enumerate(kinds))
    owner.exec_driver_sql("DROP TABLE IF EXISTS random_rows")
    owner.exec_driver_sql(f"CREATE TABLE random_rows (n INTEGER, {columns})")
    for number, values in enumerate(rows):
        owner.execute(sa.text(f"INSERT INTO random_rows (n) VALUES ({number})"))
        for place, (kind, value) in enumerate(zip(kinds, values, strict=True)):
            written = engine.written.format(kind=kind)
            update = sa.text(f"UPDATE random_rows SET c{place} = {written} WHERE n = {number}")
            owner.execute(update.bindparams(sa.bindparam("v", value, sa.types.NullType())))
    with snapshot(engine.reader) as connection:
        statement = sa.select(sa.text("*")).select_from(sa.text("random_rows")).order_by(sa.text("n"))
        staging = Staging(str(tmp_path), "run")
        staging.write_rows("slice", map(dump_row, stream(connection, statement, {})))
    found = [row for _, row in staging.read_rows("slice")]
    assert [row["n"] for row in found] == list(range(len(rows)))
    for place, kind in enumerate(kinds):
        printed = engine.text(owner, "random_rows", kind, f"c{place}")
        read = [row[f"c{place}"] for row in found]
        assert [pair for pair in zip(read, printed, strict=True) if not engine.same(kind, *pair)] == []
