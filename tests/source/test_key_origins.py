"""What a key is made of is told through aliases, subqueries and views, by each engine's own names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.source.database import snapshot
from medferry.source.entity import SourceEntity
from medferry.source.key_origins import KeyOrigin, is_same, key_origins

_TABLES = (
    "CREATE TABLE person_of (id INTEGER, mrn INTEGER, site INTEGER, Born VARCHAR(9))",
    "CREATE TABLE other_of (id INTEGER, person INTEGER)",
    "CREATE VIEW seen_of AS SELECT id AS number, mrn, site FROM person_of",
    "CREATE VIEW twice_of AS SELECT number AS id FROM seen_of",
)
_GONE = ("VIEW twice_of", "VIEW seen_of", "TABLE other_of", "TABLE person_of")


@pytest.fixture
def tables(owner: sa.Connection) -> Iterator[None]:
    for statement in _TABLES:
        owner.exec_driver_sql(statement)
    yield
    for what in _GONE:
        owner.exec_driver_sql(f"DROP {what}")


def origin(reader: sa.Engine, sql: str, *key: str) -> KeyOrigin:
    entity = SourceEntity("e", Path("e.sql"), key or ("id",), "unit", None, "", sql, {})
    with snapshot(reader) as view:
        return key_origins(view, [entity])["e"]


@pytest.mark.parametrize(
    ("sql", "key", "made_of"),
    [
        ("SELECT id, mrn FROM person_of", ("id",), ("person_of.id",)),
        ("SELECT * FROM person_of", ("mrn",), ("person_of.mrn",)),
        ("SELECT p.mrn AS id FROM person_of AS p", ("id",), ("person_of.mrn",)),
        ("SELECT site, mrn FROM person_of", ("site", "mrn"), ("person_of.site", "person_of.mrn")),
        ("SELECT site, mrn FROM person_of", ("mrn", "site"), ("person_of.mrn", "person_of.site")),
        ("SELECT CAST(x.n AS CHAR(9)) AS id FROM (SELECT mrn AS n FROM person_of) x", ("id",), ("person_of.mrn",)),
        ("WITH x AS (SELECT id FROM twice_of) SELECT id FROM x", ("id",), ("person_of.id",)),
        ("SELECT o.person AS id FROM other_of o JOIN seen_of s ON s.number = o.person", ("id",), ("other_of.person",)),
        ("SELECT mrn + 7 AS id FROM seen_of", ("id",), ("person_of.mrn + 7",)),
        (
            "SELECT id FROM person_of UNION ALL SELECT person FROM other_of",
            ("id",),
            ("other_of.person or person_of.id",),
        ),
        ("SELECT COALESCE(mrn, id) AS id FROM person_of", ("id",), ("COALESCE(person_of.mrn, person_of.id)",)),
        ("SELECT 1 AS site, id FROM person_of", ("site", "id"), ("1", "person_of.id")),
    ],
)
def test_it_is_told(
    tables: None, reader: sa.Engine, sql: str, key: tuple[str, ...], made_of: tuple[str, ...] | None
) -> None:
    assert origin(reader, sql, *key).made_of == made_of


def test_another_view_of_the_same_name_is_another_key(tables: None, owner: sa.Connection, reader: sa.Engine) -> None:
    before = origin(reader, "SELECT id FROM twice_of")
    owner.exec_driver_sql("DROP VIEW twice_of")
    owner.exec_driver_sql("CREATE VIEW twice_of AS SELECT mrn AS id FROM seen_of")
    assert is_same(before, origin(reader, "SELECT id FROM twice_of")) is False


def test_the_same_by_other_names_is_the_same(tables: None, reader: sa.Engine) -> None:
    before = origin(reader, "SELECT id FROM person_of")
    assert is_same(before, origin(reader, "SELECT x.number AS no, x.mrn FROM seen_of x", "no"))


def test_what_no_parser_reads_is_told_by_its_text_alone(tables: None, reader: sa.Engine) -> None:
    odd = origin(reader, "SELECT id FROM nowhere_of")
    assert odd.made_of is None and str(odd) == "id"
    assert is_same(odd, odd) is True
    assert is_same(odd, origin(reader, "SELECT id , mrn FROM nowhere_of")) is None
    assert is_same(odd, origin(reader, "SELECT id FROM person_of")) is None
