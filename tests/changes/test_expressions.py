"""SQL of ours that the database cannot evaluate never gets into a trigger: there it would fail the application."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from medferry.source.changes.engines import install, journal_of, remove, to_install
from medferry.source.changes.expressions import ExpressionRefused
from medferry.source.changes.rules import KeyOf, KeySql, watched
from medferry.source.gate.engines import gate_of
from medferry.source.objects import LegacyObjects

WRITES = (
    "INSERT INTO visit VALUES (9, 'hill', '9', 1)",
    "UPDATE visit SET clinic = 'harbor' WHERE id = 9",
    "DELETE FROM visit WHERE id = 9",
)

Write = Callable[..., None]


@pytest.fixture(autouse=True)
def tables(write: Write) -> Iterator[None]:
    gone = ("DROP TABLE IF EXISTS visit", "DROP TABLE IF EXISTS note")
    write(
        *gone,
        "CREATE TABLE visit (id INTEGER PRIMARY KEY, clinic VARCHAR(40), code VARCHAR(40), note_id INTEGER)",
        "CREATE TABLE note (id INTEGER PRIMARY KEY, unit VARCHAR(40), at VARCHAR(40))",
        "INSERT INTO visit VALUES (1, 'harbor', '5', 1), (2, 'hill', 'z', 2)",
        "INSERT INTO note VALUES (1, 'harbor', '10:30'), (2, 'hill', '100')",
    )
    yield
    write(*gone)


def journal(engine: sa.Engine, key: KeySql) -> LegacyObjects:
    return journal_of(engine, watched({"visit": {"visit": key}}))


def gate(engine: sa.Engine, unit: str) -> LegacyObjects:
    return gate_of(engine, ["harbor", "hill"], {"visit": KeyOf.of("", unit)})


def assert_refused(engine: sa.Engine, objects: LegacyObjects, told: str, write: Write) -> None:
    """Already when the statements are only printed; and the application never notices."""
    with pytest.raises(ExpressionRefused, match="cannot be evaluated for each row") as error:
        to_install(engine, objects)
    assert told in str(error.value)
    write(*WRITES)


MISTAKES = ["idd", "{row}.idd", "no_such_function({row}.id)", "CASE WHEN clinic = 'hill' THEN {row}.id END"]
"""The last names a column of no row: only `{row}.clinic` would be one."""
SELECTS = [
    "SELECT n.id FROM nowhere n WHERE n.id = {row}.note_id",
    "SELECT n.idd FROM note n WHERE n.id = {row}.note_id",
    "SELECT n.id FROM note n WHERE n.id = {row}.note_idd",
    "SELECT n.id FROM note n WHERE n.id = {row}.note_id AND clinic = 'hill'",
]


@pytest.mark.parametrize("sql", MISTAKES + SELECTS)
def test_what_cannot_be_evaluated_is_refused_before_there_is_a_trigger(
    engine: sa.Engine, write: Write, sql: str
) -> None:
    assert_refused(engine, journal(engine, sql), f"capture.yaml, entity visit, table visit: `{sql}`", write)
    assert_refused(engine, gate(engine, sql), f"gate.yaml, table visit: `{sql}`", write)


def test_each_part_of_a_key_and_every_mistake_is_told(engine: sa.Engine, write: Write) -> None:
    both = journal_of(engine, watched({"visit": {"visit": ["id", "idd"]}, "note": {"note": "noted"}}))
    assert_refused(engine, both, "entity visit, table visit: `id, idd`", write)
    assert_refused(engine, both, "entity note, table note: `noted`", write)


def test_names_of_postgresql_that_need_quotes_are_refused_without(engine: sa.Engine, write: Write) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("elsewhere a column's case does not count")
    write('ALTER TABLE visit RENAME COLUMN code TO "Code"')
    assert_refused(engine, gate(engine, "{row}.Code"), "code does not exist", write)


def test_an_expression_that_fails_for_a_row_that_is_there_is_refused(engine: sa.Engine, write: Write) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("a text that is no number is 0 there")
    sql = "CASE WHEN CAST({row}.code AS DECIMAL(9, 2)) > 5 THEN 'hill' ELSE {row}.clinic END"
    assert_refused(engine, gate(engine, sql), "gate.yaml, table visit", write)
    write("DELETE FROM visit WHERE code = 'z'")
    install(engine, gate(engine, sql))
    write(*WRITES)
    remove(engine, gate(engine, sql))


@pytest.mark.parametrize(
    "sql",
    [
        "CASE WHEN {row}.clinic LIKE '10%:x' THEN {row}.id ELSE {row}.id END",
        "COALESCE((SELECT n.id FROM note n WHERE n.id = {row}.note_id AND n.at <> '10:30%s'), {row}.id)",
        "SELECT n.id FROM note n WHERE n.id IN ({row}.note_id, {row}.id)",
        "SELECT n.id FROM (SELECT id FROM note WHERE id = {row}.note_id) n",
        "WITH n AS (SELECT id FROM note WHERE id = {row}.note_id) SELECT id FROM n",
        "SELECT id FROM note WHERE id = {row}.note_id UNION SELECT id FROM note WHERE id = {row}.id",
    ],
)
def test_what_a_trigger_can_evaluate_is_taken(engine: sa.Engine, write: Write, sql: str) -> None:
    for objects in (journal(engine, sql), gate(engine, sql)):
        install(engine, objects)
        write(*WRITES)
        remove(engine, objects)
