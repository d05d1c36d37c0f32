"""The table and the columns that are watched are those of the name that was written, case and all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import sqlalchemy as sa

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.rules import KeyOf, KeySql, watched
from medferry.source.gate.engines import gate_of

Write = Callable[..., None]

TABLE, KEY, SITE = "Visit", "Pat Id", "Site"


@pytest.fixture
def named(engine: sa.Engine) -> Callable[[str], str]:
    """A name in the engine's quotes."""
    return engine.dialect.identifier_preparer.quote_identifier


@pytest.fixture(autouse=True)
def tables(engine: sa.Engine, write: Write, named: Callable[[str], str]) -> Iterator[None]:
    """`Visit`, and on PostgreSQL beside it another table, of the same name without a capital letter."""
    of = ["Visit", *(["visit"] if engine.dialect.name == "postgresql" else [])]
    gone = [f"DROP TABLE IF EXISTS {named(table)}" for table in of]
    columns = f"{named(KEY)} INTEGER PRIMARY KEY, {named(SITE)} VARCHAR(10), {named('id')} INTEGER"
    write(*gone, *(f"CREATE TABLE {named(table)} ({columns})" for table in of))
    yield
    write(*gone)


def keys_of(engine: sa.Engine, entities: Mapping[str, Mapping[str, KeySql]], write: Write, *statements: str) -> object:
    """What is captured of some statements; nothing is left of the journal."""
    journal = journal_of(engine, watched(entities))
    install(engine, journal)
    try:
        assert install(engine, journal) == [], "what was installed is what was wanted"
        with next_cut(journal, engine, engine, None) as (_, start):
            pass
        write(*statements)
        with next_cut(journal, engine, engine, start.position) as (_, cut):
            return dict(cut.keys)
    finally:
        remove(engine, journal)


def test_a_table_and_columns_with_capitals_and_blanks_are_captured(
    engine: sa.Engine, write: Write, named: Callable[[str], str]
) -> None:
    insert = f"INSERT INTO {named(TABLE)} VALUES (7, 'hill', 8)"
    rows = {
        "by_key": f"{{row}}.{named(KEY)}",
        "by_site": "Site",
        "looked_up": f"SELECT v.{named(KEY)} FROM {named(TABLE)} v WHERE v.{named(KEY)} = {{row}}.{named(KEY)}",
    }
    entities = {entity: {TABLE: sql} for entity, sql in rows.items()}
    wanted = {"by_key": ("7",), "by_site": ("hill",), "looked_up": ("7",)}
    assert keys_of(engine, entities, write, insert) == wanted


def test_of_two_tables_each_has_its_own_triggers(engine: sa.Engine, write: Write, named: Callable[[str], str]) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("elsewhere the two are one, or the server's files decide")
    inserts = [f"INSERT INTO {named(table)} VALUES ({key}, 'x', 1)" for table, key in (("Visit", 1), ("visit", 2))]
    key = '{row}."Pat Id"'
    assert keys_of(engine, {"one": {"Visit": key}}, write, *inserts) == {"one": ("1",)}
    write('DELETE FROM "Visit"', "DELETE FROM visit")
    both = {"one": {"Visit": key}, "other": {"visit": key}}
    assert keys_of(engine, both, write, *inserts) == {"one": ("1",), "other": ("2",)}


def test_a_name_that_is_there_only_without_capitals_is_found_as_ever(engine: sa.Engine, write: Write) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("names fold there alone")
    write('DROP TABLE "Visit"')
    with engine.connect() as connection:
        journal = journal_of(engine, watched({"one": {"VISIT": "ID"}}))
        (log, _) = journal.triggers(connection)
    assert any("ON VISIT " in statement for statement in log.create) and "concat(NEW.ID)" in log.body


def test_the_gate_is_of_the_table_and_the_column_of_that_name(
    engine: sa.Engine, write: Write, named: Callable[[str], str]
) -> None:
    for unit in ("Site", f"{{row}}.{named(SITE)}"):
        gate = gate_of(engine, ["hill"], {TABLE: KeyOf.of("", unit)})
        install(engine, gate)
        try:
            assert install(engine, gate) == [], "what was installed is what was wanted"
            gate.close(engine, "hill", 0, seconds=600, patience=5)
            with pytest.raises(sa.exc.DBAPIError, match="is closed while it moves"):
                write(f"INSERT INTO {named(TABLE)} VALUES (7, 'hill', 8)")
            write(f"INSERT INTO {named(TABLE)} VALUES (8, 'harbor', 8)", f"DELETE FROM {named(TABLE)}")
        finally:
            remove(engine, gate)
