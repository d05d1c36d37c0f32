"""Which columns a SELECT reads, on real engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.errors import SourceError
from medferry.source.database import connect_engine, snapshot
from medferry.source.entity import SourceEntity
from medferry.source.inventory import LegacySchema, legacy_schema, readers

TABLES = """
CREATE TABLE person (id INTEGER PRIMARY KEY, unit VARCHAR(9), family VARCHAR(40), born DATE, pet VARCHAR(40));
CREATE TABLE visit (id INTEGER PRIMARY KEY, person_id INTEGER, seen DATE, bill INTEGER);
CREATE TABLE invoice (id INTEGER PRIMARY KEY, amount INTEGER);
CREATE VIEW billed AS SELECT v.id, v.bill FROM visit v;
CREATE VIEW last_billed AS SELECT b.id FROM billed b
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def schema(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LegacySchema]:
    if request.param == "sqlite":
        yield _schema(f"sqlite:///{tmp_path_factory.mktemp('inventory')}/x.db")
        return
    try:
        with getattr(servers, request.param)() as server:
            yield _schema(server.url)
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


def _schema(url: str) -> LegacySchema:
    made = sa.create_engine(connect_engine(url).url)  # an engine of its own: Medferry's may be read-only
    with made.begin() as connection:
        for statement in TABLES.split(";"):
            connection.exec_driver_sql(statement)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql('CREATE TABLE "Mixed" ("Id" INTEGER, id INTEGER, "select" INTEGER)')
            connection.exec_driver_sql("CREATE SCHEMA archive")
            connection.exec_driver_sql("CREATE TABLE archive.visit (id INTEGER, old INTEGER)")
    made.dispose()
    engine = connect_engine(url)
    with snapshot(engine) as connection:
        found = legacy_schema(connection)
    engine.dispose()
    return found


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT id, family FROM person", {"person.id", "person.family"}),
        ("SELECT * FROM invoice", {"invoice.id", "invoice.amount"}),
        ("SELECT id FROM last_billed", {"visit.id", "visit.bill"}),
        ("SELECT p.* FROM person p", {"person.id", "person.unit", "person.family", "person.born", "person.pet"}),
        ("SELECT ID, Family FROM Person", {"person.id", "person.family"}),
        ("SELECT 1 AS one FROM person WHERE pet IS NULL", {"person.pet"}),
        (
            "SELECT family, seen FROM person JOIN visit ON visit.person_id = person.id",
            {"person.family", "person.id", "visit.seen", "visit.person_id"},
        ),
        (
            "WITH old AS (SELECT id AS key_, born AS day FROM person) SELECT key_, day FROM old",
            {"person.id", "person.born"},
        ),
        (
            "SELECT p.id, (SELECT MAX(v.seen) FROM visit v WHERE v.person_id = p.id) AS last FROM person p",
            {"person.id", "visit.seen", "visit.person_id"},
        ),
        ("SELECT id FROM person UNION ALL SELECT amount FROM invoice", {"person.id", "invoice.amount"}),
        ("SELECT bill FROM billed", {"visit.id", "visit.bill"}),
    ],
)
def test_the_columns_that_a_select_reads(schema: LegacySchema, sql: str, read: set[str]) -> None:
    assert {".".join(column) for column in schema.reads_of(sql)} == read


def test_names_in_quotes_keep_their_case_on_postgresql(schema: LegacySchema) -> None:
    if schema.dialect != "postgresql":
        pytest.skip("the other engines compare names without case")
    assert schema.reads_of('SELECT "Id", "select" FROM "Mixed"') == {("Mixed", "Id"), ("Mixed", "select")}
    assert schema.reads_of("SELECT old FROM archive.visit") == {("archive.visit", "old")}
    assert "visit" in schema.tables and "archive.visit" in schema.tables


def test_readers_are_named_and_what_nobody_reads_is_not_there(schema: LegacySchema) -> None:
    entities = [_entity("patient", "SELECT id, unit, family FROM person"), _entity("name", "SELECT family FROM person")]
    found = readers(schema, entities)
    assert found["person", "family"] == ["patient", "name"]
    assert ("person", "pet") not in found


def test_sql_that_cannot_be_read_is_named_by_its_file(schema: LegacySchema) -> None:
    with pytest.raises(SourceError, match=r"patient\.sql"):
        readers(schema, [_entity("patient", "SELECT id FROM (person")])


def _entity(name: str, sql: str) -> SourceEntity:
    return SourceEntity(name, Path(f"{name}.sql"), ("id",), "unit", None, name, sql, {})
