"""What a change of the schema does to captured tables, as `docs/runbooks/capture.md` tells it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.journal import Cut, Journal
from medferry.source.changes.rules import KeyOf, watched
from medferry.source.gate.engines import gate_of

Write = Callable[..., None]

ROUNDED = {
    "postgresql": "ALTER TABLE remark ALTER COLUMN kg TYPE DECIMAL(8, 1) USING round(kg, 1)",
    "mysql": "ALTER TABLE remark MODIFY kg DECIMAL(8, 1)",
    "mariadb": "ALTER TABLE remark MODIFY kg DECIMAL(8, 1)",
}


def take(engine: sa.Engine, journal: Journal, previous: str | None = None) -> Cut:
    with next_cut(journal, engine, engine, previous) as (_, cut):
        return cut


def test_a_change_of_the_schema_that_changes_values_is_in_no_cut(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    if engine.dialect.name not in ROUNDED:
        pytest.skip("SQLite's ALTER changes no value")
    write("ALTER TABLE remark ADD COLUMN kg DECIMAL(8, 3) DEFAULT 2.755")
    start = take(engine, journal)
    write(ROUNDED[engine.dialect.name])
    cut = take(engine, journal, start.position)
    assert (cut.keys, cut.whole, cut.refused) == ({}, frozenset(), {})
    with engine.connect() as connection:
        assert str(connection.exec_driver_sql("SELECT kg FROM remark WHERE id = 1").scalar()) == "2.8"


def test_a_key_s_column_that_is_renamed_stops_the_application_until_it_is_installed_anew(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    start = take(engine, journal)
    write("ALTER TABLE remark RENAME COLUMN id TO number")
    if engine.dialect.name != "sqlite":  # which renames it in the triggers, too
        with pytest.raises(DBAPIError):
            write("UPDATE remark SET text = 'x' WHERE number = 1")
    renamed = journal_of(engine, {**journal.watched, **watched({"remark": {"remark": "number"}})})
    install(engine, renamed)
    write("UPDATE remark SET text = 'x' WHERE number = 1")
    cut = take(engine, renamed, start.position)
    found = ({"remark": ("1",)}, set()) if engine.dialect.name == "sqlite" else (cut.keys, {"remark"})
    assert (cut.keys, cut.whole, cut.refused) == (*found, {})
    write("UPDATE remark SET text = 'y' WHERE number = 2")
    assert take(engine, renamed, cut.position).keys == {"remark": ("2",)}


def test_a_gated_column_that_is_renamed_stops_the_application_until_it_is_installed_anew(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    assert journal.watched
    gate, renamed = (gate_of(engine, ["r1"], {"remark": KeyOf.of("", unit)}) for unit in ("text", "label"))
    install(engine, gate)
    try:
        write("ALTER TABLE remark RENAME COLUMN text TO label")
        if engine.dialect.name != "sqlite":
            with pytest.raises(DBAPIError):
                write("UPDATE remark SET label = 'x' WHERE id = 1")
        install(engine, renamed)
        write("UPDATE remark SET label = 'x' WHERE id = 1")
    finally:
        remove(engine, renamed)
