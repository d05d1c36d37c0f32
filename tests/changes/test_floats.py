"""A float as a key: what a trigger logs is the text under which the manifest keeps it, or everything of the entity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.journal import Cut, Journal
from medferry.source.changes.rules import watched
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity

ASKED = int(os.environ.get("MEDFERRY_KEY_EXAMPLES", "0"))
COLUMNS = {
    "sqlite": {"number": "REAL"},
    "postgresql": {"number": "DOUBLE PRECISION", "single": "REAL", "own": "own_float"},
    "mariadb": {"number": "DOUBLE", "single": "FLOAT", "fixed": "DOUBLE(20,2)", "fixed_single": "FLOAT(10,2)"},
}
PLAIN = [7.1, 0.5, 2.0, -0.0, -3.25, 123456.789, 0.0001, 0.00012345, 1e15, 9007199254740991.0, 1234567.5, 16777215.0]
"""What keys are, where they are floats: their text is sure, but for a FLOAT that MariaDB does not print."""
ODD = [1e-7, -1e-7, 1.5e-5, 1.2345678901234567e-4, 0.1 + 0.2, 1000000000000000.5, 4503599627370495.5, 1e-300, 5e-324]
ODD += [0.5506685187074289]  # SQLite writes it with one digit less, and reads that as the same


def entity(column: str) -> SourceEntity:
    return SourceEntity(column, Path("x"), (column,), "unit", None, column, "SELECT * FROM floats", {})


@pytest.fixture
def journal(engine: sa.Engine) -> Iterator[Journal]:
    columns = COLUMNS[engine.dialect.name]
    with engine.begin() as connection:
        for table in ("floats", "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP DOMAIN IF EXISTS own_float")
            connection.exec_driver_sql("CREATE DOMAIN own_float AS double precision")
        declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        connection.exec_driver_sql(f"CREATE TABLE floats (unit VARCHAR(9), {declared})")
    rules = {column: {"floats": column} for column in columns} | {"pair": {"floats": ["unit", "number"]}}
    journal = journal_of(engine, watched(rules))
    install(engine, journal)
    yield journal
    remove(engine, journal)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE floats")


def _fits(column: str, value: float) -> bool:
    if "fixed" in column and abs(value) > 1e6:
        return False
    return "single" not in column or not value or 1e-37 < abs(value) < 2**52


def deleted(engine: sa.Engine, journal: Journal, value: float) -> tuple[Cut, dict[str, str]]:
    """The cut in which a row with a value in all its columns is gone, and the keys as which it was read before."""
    columns = list(COLUMNS[engine.dialect.name])
    values = {name: value if _fits(name, value) else 1.5 for name in columns}
    with engine.begin() as connection:
        names = ", ".join(f":{name}" for name in columns)
        connection.execute(sa.text(f"INSERT INTO floats VALUES ('u', {names})"), values)
    with snapshot(engine) as connection:
        (row,) = stream(connection, sa.text("SELECT * FROM floats"), {})
        keys = {name: entity(name).ledger_key_of(row) for name in columns}
    with next_cut(journal, engine, engine, None) as (_, start):
        pass
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM floats")
    with next_cut(journal, engine, engine, start.position) as (_, cut):
        return cut, keys | {"pair": f"u/{keys['number']}"}


@pytest.mark.parametrize("value", PLAIN)
def test_a_plain_one_is_logged_as_it_is_read(engine: sa.Engine, journal: Journal, value: float) -> None:
    cut, keys = deleted(engine, journal, value)
    assert cut.whole <= ({"single", "fixed_single", "fixed"} if engine.dialect.name == "mariadb" else set())
    assert cut.keys == {name: (key,) for name, key in keys.items() if name not in cut.whole}


@settings(
    max_examples=ASKED or 60,
    derandomize=not ASKED,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(value=st.sampled_from(ODD) | st.floats(-1e16, 1e16) | st.floats(-1, 1) | st.floats(-1e6, 1e6, width=32))
def test_one_that_is_gone_is_never_missed(engine: sa.Engine, journal: Journal, value: float) -> None:
    cut, keys = deleted(engine, journal, value)
    if abs(value) < 2**53:
        assert cut.keys == {name: (key,) for name, key in keys.items() if name not in cut.whole}
    if engine.dialect.name == "postgresql":
        assert cut.whole == set()
