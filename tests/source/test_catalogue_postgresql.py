"""PostgreSQL: every type of its catalogue arrives as the engine has it, or is refused by name."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.errors import SourceError
from medferry.runtime.staging import dump_row, load_row
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.session import POSTGRESQL as SETTINGS
from medferry.source.types.postgresql import EXTENSIONS, TYPES
from tests.source import catalogue


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with servers.embedded() as server:
        yield server.url


@pytest.fixture(scope="module")
def reader(url: str) -> Iterator[sa.Engine]:
    engine = connect_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def owner(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE EXTENSION vector")
        for statement in catalogue.POSTGRESQL_TYPES:
            connection.exec_driver_sql(statement)
        for name, value in SETTINGS.items():
            connection.exec_driver_sql(f"SET {name} = {value}")
        yield connection
    engine.dispose()


def read(engine: sa.Engine, table: str) -> list[Any]:
    """The column v as a mapping gets it: streamed, staged and read back."""
    with snapshot(engine) as connection:
        rows = list(stream(connection, sa.text(f"SELECT v FROM {table} ORDER BY n"), {}))
    staged = [load_row(dump_row(row)) for row in rows]
    assert staged == rows
    return [row["v"] for row in staged]


def changed(kind: str, found: Sequence[Any], printed: Sequence[str | None]) -> list[tuple[Any, str | None]]:
    return [pair for pair in zip(found, printed, strict=True) if not same(kind, *pair)]


def same(kind: str, value: Any, text: str | None) -> bool:
    """Whether a value of a row is what the engine prints."""
    if value is None or text is None:
        return value is text
    if isinstance(value, bool):
        return kind == "bool" and text == ("t" if value else "f")
    if isinstance(value, float):
        return kind in ("float4", "float8") and repr(value) == repr(float(text))
    if isinstance(value, dict):
        return kind == "bytea" and text == "\\x" + base64.b64decode(value["base64"]).hex()
    if isinstance(value, int):
        return kind in ("int2", "int4", "int8", "bit", "bit(1)", "positive") and text == str(value)
    return kind != "bytea" and type(value) is str and value == text


@pytest.mark.parametrize("kind", catalogue.POSTGRESQL)
def test_a_type_arrives_as_the_engine_prints_it(reader: sa.Engine, owner: sa.Connection, kind: str) -> None:
    catalogue.table_of(owner, "typed", kind, [*catalogue.POSTGRESQL[kind], "NULL"])
    found = read(reader, "typed")
    printed = catalogue.postgresql_text(owner, "typed", kind)
    assert found[-1] is None
    assert changed(kind, found, printed) == []


@pytest.mark.parametrize("kind", catalogue.POSTGRESQL_REFUSED)
def test_any_other_type_is_refused_by_name(reader: sa.Engine, owner: sa.Connection, kind: str) -> None:
    catalogue.table_of(owner, "typed", kind, [catalogue.POSTGRESQL_REFUSED[kind]])
    with pytest.raises(SourceError) as told:
        read(reader, "typed")
    name = f"_{kind.removesuffix('[]')}" if kind.endswith("[]") else kind
    assert told.value.problem == f"The column v is of the type {name}, which is not read."
    assert "CAST(v AS text)" in told.value.remedy


def test_the_catalogue_is_the_engine_s(owner: sa.Connection) -> None:
    """No base type of the engine is missing here: it is tried above, on one side or the other."""
    known = owner.exec_driver_sql(
        "SELECT typname FROM pg_type WHERE typtype = 'b' AND typcategory <> 'A' AND typisdefined "
        "AND typnamespace = 'pg_catalog'::regnamespace"
    ).scalars()
    tried = {kind.strip('"').partition("(")[0] for kind in (*catalogue.POSTGRESQL, *catalogue.POSTGRESQL_REFUSED)}
    assert set(known) - tried == set()
    ranges = owner.exec_driver_sql("SELECT rngtypid::regtype::text FROM pg_range").scalars()
    assert set(ranges) - tried == set()


def test_every_row_of_the_table_is_tried(owner: sa.Connection) -> None:
    names: dict[int, str] = dict(owner.exec_driver_sql("SELECT oid::bigint, typname FROM pg_type").all())
    tried = {kind.strip('"').partition("(")[0] for kind in catalogue.POSTGRESQL}
    assert {names[oid] for oid in TYPES} - tried == {"unknown"}
    assert set(EXTENSIONS) == {"citext", "hstore", "ltree"}  # not in the embedded server


def test_expressions_have_types_too(reader: sa.Engine) -> None:
    sql = "SELECT 'x' AS a, NULL AS b, 1 AS c, 1.0 AS d, count(*) AS e, now() IS NULL AS f, ROW(1, 2) IS NULL AS g"
    with snapshot(reader) as connection:
        (row,) = stream(connection, sa.text(sql), {})
    assert row == {"a": "x", "b": None, "c": 1, "d": "1.0", "e": 1, "f": False, "g": False}


def test_a_value_that_arrives_changed_is_found() -> None:
    """The comparison itself can fail, for each form of a value."""
    for kind, value, text in (
        ("bool", True, "f"), ("float8", 0.1, "0.10000000000000002"), ("int4", 7, "07"), ("numeric", "1.0", "1.00"),
        ("bytea", {"base64": "AA=="}, "\\x01"), ("bytea", "AA==", "AA=="), ("bit(1)", "0", "1"), ("text", None, ""),
        ("float8", 0.0, "-0"), ("numeric", 5.5, "5.5"),
    ):  # fmt: skip
        assert not same(kind, value, text)
