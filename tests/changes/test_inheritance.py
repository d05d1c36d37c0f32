"""PostgreSQL: a query of a table reads what inherits from it, on which the table's own triggers see nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, not_mended, remove
from medferry.source.changes.generations import ChangesUnseen, TableGone
from medferry.source.changes.journal import CaptureBroken, Cut, Journal
from medferry.source.changes.rules import KeyOf, watched
from medferry.source.gate.engines import gate_of
from medferry.source.gate.gate import GateBroken
from medferry.source.postgresql_triggers import Kind, families
from tests.changes import clinic

Write = Callable[..., None]

CAPTURED = watched(
    {
        "letter": {"letter": "id"},
        "line": {"line": "id", "letter": "SELECT l.id FROM line l WHERE l.letter_id = {row}.id"},
        "event": {"event": "id"},
        "remark": {"remark": "id"},
    }
)

SCHEMA = (
    "CREATE TABLE letter (id INTEGER PRIMARY KEY, unit text, text text)",
    "CREATE TABLE letter_2024 (CHECK (id > 100)) INHERITS (letter)",
    'CREATE TABLE "Letter_2024_May" (seen boolean) INHERITS (letter_2024)',
    "CREATE TABLE line (id INTEGER PRIMARY KEY, letter_id INTEGER)",
    "CREATE TABLE event (id INTEGER, text text) PARTITION BY RANGE (id)",
    "CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id)",
    "CREATE TABLE event_lowest PARTITION OF event_low FOR VALUES FROM (0) TO (50)",
    "CREATE TABLE event_high PARTITION OF event FOR VALUES FROM (100) TO (200)",
    "INSERT INTO letter VALUES (1, 'hill', 'a')",
    "INSERT INTO letter_2024 VALUES (101, 'harbor', 'b')",
    "INSERT INTO \"Letter_2024_May\" VALUES (201, 'harbor', 'c', false)",
    "INSERT INTO line VALUES (9, 201)",
    "INSERT INTO event VALUES (1, 'a'), (101, 'b')",
)


@pytest.fixture
def legacy(engine: sa.Engine) -> Iterator[Journal]:
    """Tables that inherit over two levels, and partitions over two, with the journal."""
    if engine.dialect.name != "postgresql":
        pytest.skip("of PostgreSQL")
    clinic.create(engine)
    _drop(engine)
    with engine.begin() as connection:
        for statement in SCHEMA:
            connection.exec_driver_sql(statement)
    journal = journal_of(engine, CAPTURED)
    install(engine, journal)
    yield journal
    _drop(engine)
    clinic.drop(engine)


def _drop(engine: sa.Engine) -> None:
    remove(engine, journal_of(engine, {}))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS letter, letter_2024, line, kept, event, medferry_gate CASCADE")


def take(engine: sa.Engine, journal: Journal, previous: str | None = None) -> Cut:
    with next_cut(journal, engine, engine, previous) as (_, cut):
        return cut


@pytest.mark.parametrize(
    ("statement", "keys"),
    [
        ("UPDATE letter SET text = upper(text)", {"letter": ("1", "101", "201"), "line": ("9",)}),
        ("INSERT INTO letter_2024 VALUES (102, 'hill', 'new')", {"letter": ("102",)}),
        ('UPDATE "Letter_2024_May" SET seen = true', {"letter": ("201",), "line": ("9",)}),
        ("DELETE FROM letter WHERE id > 100", {"letter": ("101", "201"), "line": ("9",)}),
        ("UPDATE event SET text = 'x'", {"event": ("1", "101")}),
        ("INSERT INTO event_lowest VALUES (2, 'x')", {"event": ("2",)}),
        ("UPDATE event SET id = 102 WHERE id = 1", {"event": ("1", "102")}),
    ],
)
def test_what_is_written_beneath_a_table_is_logged(
    engine: sa.Engine, legacy: Journal, write: Write, statement: str, keys: dict[str, tuple[str, ...]]
) -> None:
    start = take(engine, legacy)
    write(statement)
    assert take(engine, legacy, start.position).keys == keys


def test_a_partition_that_is_made_later_is_logged(engine: sa.Engine, legacy: Journal, write: Write) -> None:
    start = take(engine, legacy)
    write("CREATE TABLE event_next PARTITION OF event FOR VALUES FROM (200) TO (300)")
    write("INSERT INTO event_next VALUES (250, 'x')")
    cut = take(engine, legacy, start.position)
    assert (cut.keys, cut.refused, install(engine, legacy)) == ({"event": ("250",)}, {}, [])


def test_a_truncate_beneath_a_table_is_everything_of_the_entity(
    engine: sa.Engine, legacy: Journal, write: Write
) -> None:
    start = take(engine, legacy)
    write('TRUNCATE "Letter_2024_May"')
    assert take(engine, legacy, start.position).whole == {"letter", "line"}


def test_a_table_that_inherits_later_sets_its_entities_aside_until_it_has_triggers(
    engine: sa.Engine, legacy: Journal, write: Write
) -> None:
    start = take(engine, legacy)
    write("CREATE TABLE letter_2025 () INHERITS (letter)", "INSERT INTO letter_2025 VALUES (301, 'hill', 'unseen')")
    with engine.connect() as connection, pytest.raises(CaptureBroken, match="letter_2025 is missing"):
        legacy.check(connection)
    cut = take(engine, legacy, start.position)
    assert cut.refused.keys() == cut.whole == {"letter", "line"}
    assert isinstance(cut.refused["letter"], ChangesUnseen) and "letter_2025" in cut.refused["letter"].problem
    assert install(engine, legacy)
    mended = take(engine, legacy, cut.position)
    assert (mended.whole, mended.refused) == ({"letter", "line"}, {})
    write("UPDATE letter SET text = 'x' WHERE id = 301")
    assert take(engine, legacy, mended.position).keys == {"letter": ("301",)}


def test_a_table_that_inherits_no_longer_is_told(engine: sa.Engine, legacy: Journal, write: Write) -> None:
    start = take(engine, legacy)
    write("ALTER TABLE letter_2024 NO INHERIT letter")
    cut = take(engine, legacy, start.position)
    assert cut.refused.keys() == cut.whole == {"letter", "line"}
    install(engine, legacy)
    assert take(engine, legacy, cut.position).refused == {}


def test_a_temporary_table_of_the_application_is_none_of_ours(engine: sa.Engine, legacy: Journal) -> None:
    start = take(engine, legacy)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE mine () INHERITS (letter)")
        connection.commit()
        assert take(engine, legacy, start.position).refused == {}
        connection.exec_driver_sql("DROP TABLE mine")
        connection.commit()


def test_a_table_that_is_captured_itself_and_as_an_heir_has_one_trigger(
    engine: sa.Engine, legacy: Journal, write: Write
) -> None:
    both = journal_of(engine, {**CAPTURED, **watched({"late": {"letter_2024": "id"}})})
    install(engine, both)
    start = take(engine, both)
    write("UPDATE letter SET text = 'x' WHERE id = 101")
    assert take(engine, both, start.position).keys == {"late": ("101",), "letter": ("101",)}


def test_removing_takes_the_triggers_of_heirs_along(engine: sa.Engine, legacy: Journal) -> None:
    remove(engine, legacy)
    with engine.connect() as connection:
        assert legacy.found(connection) == []
        functions = "SELECT count(*) FROM pg_proc WHERE proname ILIKE 'medferry%letter%'"
        assert connection.scalar(sa.text(functions)) == 0


# -- relations whose changes fire no trigger here ---------------------------------------------------


@pytest.fixture
def foreign(write: Write, legacy: Journal) -> Iterator[None]:
    """A foreign-data wrapper that serves nothing: the catalogue is enough."""
    write("CREATE FOREIGN DATA WRAPPER nowhere", "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere")
    yield
    write("DROP FOREIGN DATA WRAPPER nowhere CASCADE")


@pytest.mark.parametrize(
    ("made", "entities"),
    [
        ("CREATE FOREIGN TABLE away () INHERITS (letter) SERVER elsewhere", {"letter", "line"}),
        ("CREATE FOREIGN TABLE away PARTITION OF event FOR VALUES FROM (200) TO (300) SERVER elsewhere", {"event"}),
        (
            "ALTER TABLE remark RENAME TO kept; CREATE FOREIGN TABLE remark (id integer) SERVER elsewhere",
            {"remark"},
        ),
    ],
)
@pytest.mark.usefixtures("foreign")
def test_a_foreign_table_sets_its_entities_aside_alone(
    engine: sa.Engine, legacy: Journal, write: Write, made: str, entities: set[str]
) -> None:
    start = take(engine, legacy)
    write(*made.split("; "))
    cut = take(engine, legacy, start.position)
    assert cut.refused.keys() == entities
    for error in cut.refused.values():
        assert isinstance(error, ChangesUnseen) and "fires no trigger" in error.problem and "sweep" in error.remedy
    with engine.connect() as connection, pytest.raises(CaptureBroken, match="foreign table"):
        legacy.check(connection)
    install(engine, legacy)
    assert ["foreign table" in one for one in not_mended(engine, legacy)] == [True]
    with pytest.raises(CaptureBroken, match="method: sweep"):
        install(engine, legacy)


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_is_told_as_one(engine: sa.Engine, legacy: Journal, write: Write, kind: str) -> None:
    start = take(engine, legacy)
    write("ALTER TABLE line RENAME TO kept", f"CREATE {kind} line AS SELECT * FROM kept")
    error = take(engine, legacy, start.position).refused["line"]
    assert isinstance(error, TableGone) and f"it is a {kind.lower()}" in error.problem
    write(f"DROP {kind} line", "DROP TABLE kept")


# -- the gates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE letter SET text = 'x' WHERE id = 201",
        "INSERT INTO letter_2024 VALUES (102, 'harbor', 'new')",
        'DELETE FROM "Letter_2024_May"',
        'TRUNCATE "Letter_2024_May"',
    ],
)
def test_a_closed_gate_refuses_what_is_written_beneath_a_table(
    engine: sa.Engine, legacy: Journal, write: Write, statement: str
) -> None:
    gate = gate_of(engine, ["harbor", "hill"], {"letter": KeyOf.of("", "unit")})
    install(engine, gate)
    gate.close(engine, "harbor", 0, 60, 5)
    with pytest.raises(DBAPIError, match="is closed"):
        write(statement)
    write("UPDATE letter SET text = 'x' WHERE id = 1")
    write("CREATE TABLE letter_2025 () INHERITS (letter)")
    with engine.connect() as connection, pytest.raises(GateBroken, match="letter_2025 is missing"):
        gate.check(connection)


def test_kinds_are_those_of_the_catalogue(engine: sa.Engine, legacy: Journal) -> None:
    with engine.connect() as connection:
        found = families(connection, ["letter", "event", "nowhere"])
    assert [(one.name, one.kind) for one in found["letter"]] == [
        ("letter", Kind.TABLE), ('"Letter_2024_May"', Kind.TABLE), ("letter_2024", Kind.TABLE)
    ]  # fmt: skip
    assert found["nowhere"] == [] and [one.kind for one in found["event"]] == [*"prpr"]
