"""MariaDB: every type of its manual arrives as the engine has it, or is refused by name."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.errors import SourceError
from medferry.runtime.staging import dump_row, load_row
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.types.mysql import REFUSED, TYPES
from tests.source import catalogue


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        with servers.mariadb() as server:
            yield server.url
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def reader(url: str) -> Iterator[sa.Engine]:
    engine = connect_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def owner(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
        yield connection
    engine.dispose()


def read(engine: sa.Engine, table: str) -> list[Any]:
    """The column v as a mapping gets it: streamed in the order of n, staged and read back."""
    statement = sa.select(sa.text("*")).select_from(sa.text(table)).order_by(sa.text("n"))
    with snapshot(engine) as connection:
        rows = list(stream(connection, statement, {}))
    assert [row["n"] for row in rows] == list(range(len(rows)))
    staged = [load_row(dump_row(row)) for row in rows]
    assert staged == rows
    return [row["v"] for row in staged]


def same(kind: str, value: Any, text: str | None) -> bool:
    """Whether a value of a row is what the engine prints."""
    if value is None or text is None:
        return value is text
    if isinstance(value, dict):
        return ("BINARY" in kind or "BLOB" in kind) and base64.b64decode(value["base64"]).hex().upper() == text
    if isinstance(value, float):
        wanted = catalogue.single(text) if kind.startswith("FLOAT") else float(text)
        held = catalogue.single(repr(value)) if kind.startswith("FLOAT") else value
        return kind.startswith(("FLOAT", "DOUBLE")) and held == wanted
    if isinstance(value, int):
        return "ZEROFILL" not in kind and int(text) == value and (text == str(value) or kind == "YEAR")
    if kind.startswith("TIMESTAMP") and not text.startswith("0000"):
        return type(value) is str and value == f"{text}+00:00"
    return type(value) is str and value == text and "BLOB" not in kind and not kind.startswith(("BINARY", "VARBINARY"))


@pytest.mark.parametrize("kind", catalogue.MARIADB)
def test_a_type_arrives_as_the_engine_prints_it(reader: sa.Engine, owner: sa.Connection, kind: str) -> None:
    nullable = [] if kind == "SERIAL" else ["NULL"]
    catalogue.table_of(owner, "typed", kind, [*catalogue.MARIADB[kind], *nullable])
    found = read(reader, "typed")
    printed = catalogue.mariadb_text(owner, "typed", kind)
    assert [pair for pair in zip(found, printed, strict=True) if not same(kind, *pair)] == []


@pytest.mark.parametrize("kind", catalogue.MARIADB_REFUSED)
def test_any_other_type_is_refused_by_name(reader: sa.Engine, owner: sa.Connection, kind: str) -> None:
    catalogue.table_of(owner, "typed", kind, [catalogue.MARIADB_REFUSED[kind]])
    with pytest.raises(SourceError) as told:
        read(reader, "typed")
    assert told.value.problem == "The column v is of the type GEOMETRY, which is not read."
    assert "ST_AsText(v)" in told.value.remedy


def test_the_catalogue_is_the_engine_s(owner: sa.Connection) -> None:
    """No type of the engine's own help is missing here."""
    pages = sa.create_engine(owner.engine.url.set(username="root", database="mysql"))
    statement = (
        "SELECT REPLACE(t.name, '\\\\\\\\', '') FROM help_topic t JOIN help_category c USING (help_category_id) "
        "WHERE c.name = 'Data Types'"
    )
    with pages.connect() as connection:
        named = {name.replace("\\", "") for name in connection.exec_driver_sql(statement).scalars()}
    pages.dispose()
    assert len(named) > 60
    tried = {kind.partition("(")[0].removesuffix(" NULL").split(" CHARACTER")[0] for kind in catalogue.MARIADB}
    plain = {name.removesuffix(" Data Type") for name in named}
    assert plain - tried - catalogue.MARIADB_SAME - catalogue.MARIADB_NO_TYPES == set()


def test_every_row_of_the_table_is_tried(reader: sa.Engine, owner: sa.Connection) -> None:
    seen = {6}  # of NULL
    for kind in catalogue.MARIADB:
        catalogue.table_of(owner, "typed", kind, [])
        result = owner.exec_driver_sql("SELECT v FROM typed")
        cursor: Any = result.cursor
        seen.add(cursor.description[0][1])
    # Three numbers that only a result of an old server has, and the JSON of MySQL: MariaDB's is a text.
    assert set(TYPES) - seen == {15, 245, 249, 250, 251}
    assert not set(TYPES) & set(REFUSED)


def test_expressions_have_types_too(reader: sa.Engine) -> None:
    sql = "SELECT 'x' AS a, NULL AS b, 1 AS c, 1.0 AS d, COUNT(*) AS e, 1 = 2 AS f, 0x41 AS g, 1e0 AS h"
    with snapshot(reader) as connection:
        (row,) = stream(connection, sa.text(sql), {})
    assert row == {"a": "x", "b": None, "c": 1, "d": "1.0", "e": 1, "f": 0, "g": {"base64": "QQ=="}, "h": 1.0}


def test_a_float_of_a_text_statement_has_its_digits(reader: sa.Engine, owner: sa.Connection) -> None:
    catalogue.table_of(owner, "typed", "FLOAT", ["1234567"])
    with snapshot(reader) as connection:
        statement = sa.text("SELECT v, 'a:b' AS t FROM typed WHERE n IN :numbers")
        prepared = statement.bindparams(sa.bindparam("numbers", expanding=True))
        assert list(stream(connection, prepared, {"numbers": [0]})) == [{"v": 1234567.0, "t": "a:b"}]


def test_a_value_that_arrives_changed_is_found() -> None:
    """The comparison itself can fail, for each form of a value."""
    for kind, value, text in (
        ("FLOAT", 1234570.0, "1234567"), ("DOUBLE", 0.1, "0.10000000149011612"), ("INT(7) ZEROFILL", 7, "0000007"),
        ("BIT(1)", 1, "0"), ("BLOB", "dGV4dA==", "74657874"), ("BLOB", {"base64": "dGV4dA=="}, "74"),
        ("TIMESTAMP NULL", "2024-01-15 08:30:00", "2024-01-15 08:30:00"), ("DATE", None, "0000-00-00"),
        ("DECIMAL(10,2)", "72.5", "72.50"), ("DECIMAL(10,2)", 72.5, "72.50"),
    ):  # fmt: skip
        assert not same(kind, value, text)
