"""What SQLAlchemy reads of the catalogue by a connection whose values stay text is what it reads by any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.foreign_keys import schema_behind
from medferry.source.inventory import legacy_schema

MADE = (
    "DROP SCHEMA IF EXISTS reflected CASCADE",
    "CREATE SCHEMA reflected",
    "CREATE TYPE reflected.mood AS ENUM ('low', 'high, or so')",
    'CREATE DOMAIN reflected.label AS TEXT COLLATE "C" CHECK (length(value) > 1)',
    'CREATE TABLE reflected.parent (a INTEGER, b TEXT COLLATE "C", PRIMARY KEY (a, b))',
    "CREATE TABLE reflected.child (id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, pa INTEGER CHECK (pa > 0), "
    'pb TEXT, named reflected.label, felt reflected.mood, note TEXT COLLATE "POSIX", many INTEGER[], '
    "upper TEXT GENERATED ALWAYS AS (upper(pb)) STORED, UNIQUE (pa, note), "
    "FOREIGN KEY (pa, pb) REFERENCES reflected.parent (a, b))",
    "CREATE INDEX by_text ON reflected.child (lower(pb), pa DESC) INCLUDE (note) WHERE pa > 3",
)
ASKED = (
    "get_columns",
    "get_pk_constraint",
    "get_foreign_keys",
    "get_indexes",
    "get_unique_constraints",
    "get_check_constraints",
    "get_table_comment",
)

TABLES = ("parent", "child")


def reflected(connection: sa.Connection) -> dict[tuple[str, str], Any]:
    inspector: Any = sa.inspect(connection)
    found = {(name, table): getattr(inspector, name)(table, "reflected") for name in ASKED for table in TABLES}
    return {
        **found,
        ("get_enums", ""): inspector.get_enums("reflected"),
        ("get_domains", ""): inspector.get_domains("reflected"),
    }


@pytest.fixture
def postgresql(reader: sa.Engine, owner: sa.Connection) -> Iterator[sa.Engine]:
    if reader.dialect.name != "postgresql":
        pytest.skip("PostgreSQL's lists and JSON")
    for statement in MADE:
        owner.exec_driver_sql(statement)
    yield reader
    owner.exec_driver_sql(MADE[0])


def test_the_catalogue_reads_as_on_any_connection(postgresql: sa.Engine, owner: sa.Connection) -> None:
    with snapshot(postgresql) as connection:
        found = reflected(connection)
    assert repr(found) == repr(reflected(owner))
    assert found["get_pk_constraint", "parent"]["constrained_columns"] == ["a", "b"]


def test_values_stay_text_while_the_catalogue_is_read(postgresql: sa.Engine) -> None:
    asked = sa.text("""SELECT CAST('{"a": 1.50}' AS json) AS noted, ARRAY['a', 'b'] AS many, ARRAY[1, 2] AS numbers""")
    with snapshot(postgresql) as connection:
        sa.inspect(connection).get_columns("child", "reflected")
        (row,) = stream(connection, asked, {})
    assert row == {"noted": '{"a": 1.50}', "many": "{a,b}", "numbers": "{1,2}"}


def test_a_column_with_a_collation_of_its_own_is_read(postgresql: sa.Engine) -> None:
    with snapshot(postgresql) as connection:
        everything = legacy_schema(connection)
        behind = schema_behind(connection, ["SELECT id, pa FROM reflected.child"])
    assert everything.tables["reflected.parent"] == ("a", "b")
    assert behind.tables["reflected.child"] == ("id", "pa", "pb", "named", "felt", "note", "many", "upper")


def test_an_engine_reads_the_catalogue_too(postgresql: sa.Engine) -> None:
    engine = connect_engine(postgresql.url.render_as_string(hide_password=False))
    assert sa.inspect(engine).get_pk_constraint("child", "reflected")["constrained_columns"] == ["id"]
    engine.dispose()
