"""A row for what users created comes once, with its line, or not at all; whichever engine makes its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.definition.births import births_faults, births_faults_in_legacy
from medferry.errors import MedferryError
from medferry.source.births import BORN, BornLine, KeyBy, NewRows, born_ddl, find_born, new_rows
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.database import snapshot
from medferry.source.entity import SourceEntity
from medferry.source.insert import insert_row
from medferry.source.legacy_table import legacy_table
from medferry.source.lookup import row_of_key
from medferry.source.write_faults import WriteRefused

_SERIAL = {
    "sqlite": "INTEGER PRIMARY KEY",
    "postgresql": "SERIAL PRIMARY KEY",
    "mariadb": "INTEGER AUTO_INCREMENT PRIMARY KEY",
}
SQL = (
    "SELECT n.id, n.unit, n.text, n.person_id, n.made_at, n.updated_at, x.label FROM nb_note n "
    "LEFT JOIN nb_label x ON x.note_id = n.id"
)
ENTITY = SourceEntity("note", Path("note.sql"), ("id",), "unit", "updated_at", "Notes", SQL, {})
TABLES = (
    legacy_table("nb_note", key="id", columns=("text",), touched="updated_at"),
    legacy_table("nb_label", key={"note_id": "id"}, columns=("label",), optional=True),
)
NEW = new_rows(unit="unit", columns=("person_id",), constants={"kind": "N"}, times=("made_at",))
LINE = BornLine("Observation", "0001", "note", "main", "", "")
VALUES = {"unit": "north", "text": "as it was", "person_id": 7}


@pytest.fixture
def legacy(engine: sa.Engine) -> Iterator[sa.Engine]:
    own = _SERIAL[engine.dialect.name]
    statements = (
        f"CREATE TABLE nb_note (id {own}, unit VARCHAR(10) NOT NULL, "
        "text VARCHAR(20) NOT NULL, person_id INTEGER NOT NULL, "
        "kind CHAR(1) NOT NULL, made_at TIMESTAMP NULL, updated_at TIMESTAMP NULL)",
        "CREATE TABLE nb_label (note_id INTEGER, label VARCHAR(20) NOT NULL)",
        "CREATE TABLE nb_uuid (id VARCHAR(36) PRIMARY KEY, unit VARCHAR(10), text VARCHAR(20))",
    )
    with engine.begin() as connection:
        for statement in (*statements, *born_ddl(engine.dialect.name)):
            connection.exec_driver_sql(statement)
    yield engine
    with engine.begin() as connection:
        for table in ("nb_note", "nb_label", "nb_uuid", BORN):
            connection.exec_driver_sql(f"DROP TABLE {table}")


def insert(engine: sa.Engine, wanted: dict[str, Any], line: BornLine = LINE, new: NewRows = NEW) -> str:
    return insert_row(engine, ENTITY, TABLES, new, line, VALUES, lambda _: wanted, made_of_text).key


def made_of_text(row: Any) -> str:
    return f"of {row['text']}"


def numbers(engine: sa.Engine) -> tuple[int, int, int]:
    """Rows, labels, lines."""
    with engine.connect() as connection:
        counts = [connection.scalar(sa.text(f"SELECT count(*) FROM {t}")) for t in ("nb_note", "nb_label", BORN)]
    return counts[0] or 0, counts[1] or 0, counts[2] or 0


def test_a_row_comes_once_with_all_that_only_the_row_tells(legacy: sa.Engine) -> None:
    key = insert(legacy, {"text": "as it reads", "label": "red"})
    assert insert(legacy, {"text": "never written", "label": None}) == key
    assert numbers(legacy) == (1, 1, 1)
    with snapshot(legacy) as view:
        row = row_of_key(view, ENTITY, key)
        assert find_born(view, [("Observation", "0001"), ("Patient", "0001")]) == {
            ("Observation", "0001"): BornLine("Observation", "0001", "note", "main", key, "of as it reads")
        }
    assert row is not None
    assert {name: row[name] for name in ("unit", "text", "person_id", "label")} == {
        "unit": "north", "text": "as it reads", "person_id": 7, "label": "red",
    }  # fmt: skip
    assert row["made_at"] and row["updated_at"]
    other = BornLine("Observation", "0002", "note", "main", "", "")
    assert insert(legacy, {}, other) == str(int(key) + 1)


def test_a_key_may_be_an_expression_or_a_uuid(legacy: sa.Engine) -> None:
    own = new_rows(unit="unit", key="40 + 2", columns=("person_id",), constants={"kind": ":N"[1:]})
    assert insert(legacy, {}, new=own) == "42"
    entity = SourceEntity("plain", Path("p.sql"), ("id",), "unit", None, "P", "SELECT id, unit, text FROM nb_uuid", {})
    tables = (legacy_table("nb_uuid", key="id", columns=("text",)),)
    line = BornLine("Observation", "0003", "plain", "main", "", "")
    key = insert_row(
        legacy, entity, tables, new_rows(unit="unit", key=KeyBy.UUID), line, VALUES, lambda _: {}, made_of_text
    ).key
    assert len(key) == 36
    with snapshot(legacy) as view:
        assert row_of_key(view, entity, key) == {"id": key, "unit": "north", "text": "as it was"}


def test_what_is_refused_leaves_nothing(legacy: sa.Engine) -> None:
    def raising(_: Any) -> Any:
        raise MedferryError("No.", "Never.")

    with pytest.raises(MedferryError, match="No"):
        insert_row(legacy, ENTITY, TABLES, NEW, LINE, VALUES, raising, made_of_text)
    with pytest.raises(WriteRefused, match="no room"):
        insert(legacy, {}, new=new_rows(unit="unit", columns=("person_id",)))
    with pytest.raises(WriteRefused, match="another value in text"):
        insert_row(legacy, ENTITY, TABLES, NEW, LINE, VALUES, lambda row: {"text": f"{row['text']}+"}, made_of_text)
    assert numbers(legacy) == (0, 0, 0)
    insert(legacy, {})
    assert numbers(legacy) == (1, 0, 1)


def test_the_table_is_installed_checked_and_removed_with_the_journal(engine: sa.Engine) -> None:
    with_births = journal_of(engine, {}, births=True)
    assert any(BORN in statement for statement in install(engine, with_births))
    with snapshot(engine) as view:
        with_births.check(view)
    assert any(BORN in statement for statement in remove(engine, journal_of(engine, {})))
    assert not any(BORN in statement for statement in install(engine, journal_of(engine, {})))
    with snapshot(engine) as view:
        assert [fault.problem for fault in with_births.faults(view)] == [f"the table {BORN} is missing"]
    remove(engine, with_births)


def test_what_a_new_row_would_lack_is_told_before(legacy: sa.Engine) -> None:
    lacking = new_rows(unit="unit", columns=("person_id",), times=("seen_at",))
    with snapshot(legacy) as view:
        assert [problem for problem, _ in births_faults_in_legacy(view, TABLES[0], NEW)] == []
        assert [problem for problem, _ in births_faults_in_legacy(view, TABLES[0], lacking)] == [
            "the table nb_note has no column seen_at.",
            "a new row of nb_note has no value for kind, which may not be null.",
        ]
        plain = legacy_table("nb_uuid", key="id", columns=("text",))
        told = [problem for problem, _ in births_faults_in_legacy(view, plain, new_rows(unit="unit"))]
        assert told == ["the database makes no keys for nb_uuid."]
        assert not list(births_faults_in_legacy(view, plain, new_rows(unit="unit", key=KeyBy.UUID)))


def test_what_the_definition_says_twice_or_wrongly_is_told() -> None:
    read = {"id", "unit", "text", "person_id"}
    assert not list(births_faults(ENTITY, TABLES[0], NEW, read))
    begun = new_rows(unit="unit", columns=("person_id",), constants={"kind": "note", "text": ""})
    assert not list(births_faults(ENTITY, TABLES[0], begun, read)), "a value until the row is there"
    twice = new_rows(unit="unit", columns={"person_id": "kind", "other": "text"}, constants={"kind": "", "id": 1})
    assert [problem for problem, _ in births_faults(ENTITY, TABLES[0], twice, read)] == [
        "the SQL of note gives no column other.",
        "a new row of nb_note would get its key id twice.",
        "a new row of nb_note would get kind twice.",
    ]
    two = SourceEntity("note", Path("note.sql"), ("id", "unit"), "unit", None, "Notes", SQL, {})
    assert [problem for problem, _ in births_faults(two, TABLES[0], NEW, read)] == [
        "note takes births, and its key is not one column of nb_note."
    ]
