"""What the application's session tells of a write is the same with the journal and the gates as without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.journal import CaptureBroken, Journal, PositionLost
from medferry.source.changes.rules import KeyOf, watched
from medferry.source.database import snapshot
from medferry.source.gate.engines import gate_of

CAPTURED = watched({"kept": {"kept": "id"}, "seen": {"kept": "SELECT id FROM kept WHERE id = {row}.id", "plain": "id"}})
GATED = {"kept": KeyOf.of("", "unit"), "plain": KeyOf.of("", "unit")}

SCHEMA: Mapping[str, Sequence[str]] = {
    "sqlite": ("CREATE TABLE kept (id INTEGER PRIMARY KEY, unit VARCHAR(40), text VARCHAR(40) UNIQUE)",),
    "postgresql": (
        "CREATE TABLE kept (id serial PRIMARY KEY, unit varchar(40), text varchar(40) UNIQUE)",
        "CREATE FUNCTION told(statement text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE n bigint; f boolean; "
        "BEGIN EXECUTE statement; GET DIAGNOSTICS n = ROW_COUNT; UPDATE kept SET unit = unit WHERE id = -1; "
        "f := FOUND; UPDATE kept SET unit = unit; RETURN concat_ws(' ', n, f, FOUND); END $$",
    ),
    "mariadb": (
        "CREATE TABLE kept (id INTEGER PRIMARY KEY AUTO_INCREMENT, unit VARCHAR(40), text VARCHAR(40) UNIQUE)",
    ),
}
PLAIN = "CREATE TABLE plain (id INTEGER PRIMARY KEY, unit VARCHAR(40), text VARCHAR(40))"

EVERYWHERE = (
    "INSERT INTO kept (unit, text) VALUES ('harbor', 'a')",
    "INSERT INTO kept (unit, text) VALUES ('harbor', 'b'), ('hill', 'c'), (NULL, 'd')",
    "INSERT INTO kept (unit, text) SELECT unit, concat(text, '+') FROM kept WHERE id < 3",
    "INSERT INTO plain (id, unit, text) VALUES (7, 'harbor', 'x'), (8, 'hill', 'y')",
    "INSERT INTO kept (id, unit, text) VALUES (70, 'hill', 'own key')",
    "UPDATE kept SET text = concat(text, '!') WHERE id IN (1, 2, 3)",
    "UPDATE plain SET unit = 'hill'",
    "UPDATE kept SET text = 'none' WHERE id = 999",
    "DELETE FROM kept WHERE id IN (1, 70)",
    "DELETE FROM plain",
)
WRITES: Mapping[str, Sequence[str]] = {
    "sqlite": (
        *(one.replace("concat(text, '+')", "text || '+'").replace("concat(text, '!')", "text || '!'")
          for one in EVERYWHERE),
        "INSERT OR IGNORE INTO kept (unit, text) VALUES ('harbor', 'd'), ('harbor', 'e')",
        "INSERT INTO kept (unit, text) VALUES ('harbor', 'e') ON CONFLICT (text) DO UPDATE SET unit = 'hill'",
    ),
    "postgresql": (
        *EVERYWHERE,
        "INSERT INTO kept (unit, text) VALUES ('harbor', 'r'), ('hill', 's') RETURNING id, text",
        "INSERT INTO kept (unit, text) VALUES ('hill', 'r') "
        "ON CONFLICT (text) DO UPDATE SET unit = 'hill' RETURNING id",
        "WITH one AS (INSERT INTO kept (unit, text) VALUES ('hill', 'w') RETURNING id) "
        "INSERT INTO plain SELECT id, 'hill', 'of it' FROM one RETURNING id",
        "DELETE FROM kept WHERE text = 's' RETURNING id",
        "SELECT told('INSERT INTO kept (unit, text) VALUES (''harbor'', ''t''), (''hill'', ''u'')')",
        "SELECT told('UPDATE kept SET unit = ''hill'' WHERE id IN (2, 3)')",
        "TRUNCATE plain",
    ),
    "mariadb": (
        *EVERYWHERE,
        "INSERT INTO kept (unit, text) VALUES ('hill', 'b!') "
        "ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), unit = 'hill'",
        "INSERT IGNORE INTO kept (unit, text) VALUES ('hill', 'd'), ('hill', 'e')",
        "REPLACE INTO kept (unit, text) VALUES ('hill', 'd')",
        # What the driver reads from the answer is 0 wherever a table has a trigger of anybody's.
        "INSERT INTO plain VALUES (9, 'hill', 'z'); UPDATE plain SET id = LAST_INSERT_ID(id + 1); DO 0",
        "SELECT SQL_CALC_FOUND_ROWS id FROM kept LIMIT 1; UPDATE kept SET unit = 'harbor' WHERE id = 2",
        "INSERT INTO kept (unit, text) VALUES ('hill', 'r'), ('hill', 's') RETURNING id",
    ),
}  # fmt: skip

ASKED: Mapping[str, str] = {
    "sqlite": "SELECT last_insert_rowid(), changes()",
    "postgresql": "SELECT lastval(), currval('kept_id_seq')",
    "mariadb": "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID(), @@warning_count",
}


@pytest.fixture
def legacy(engine: sa.Engine) -> Iterator[sa.Engine]:
    """An engine of the application's; nothing of the tables is there afterwards."""
    yield engine
    _drop(engine)


def _drop(engine: sa.Engine) -> None:
    remove(engine, journal_of(engine, {}))
    for table in ("kept", "plain", "medferry_gate"):
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("DROP FUNCTION IF EXISTS told")


def _told(engine: sa.Engine, *with_: str) -> list[tuple[str, Any]]:
    """Each write, and all that the session and the driver tell after it."""
    _drop(engine)
    for statement in (*SCHEMA[engine.dialect.name], PLAIN):
        with engine.begin() as connection:
            connection.execution_options(no_parameters=True).exec_driver_sql(statement)
    if "journal" in with_:
        install(engine, journal_of(engine, CAPTURED, births=True))
    if "gates" in with_:
        install(engine, gate_of(engine, ["harbor", "hill"], GATED))
    told: list[tuple[str, Any]] = []
    with engine.connect() as connection:
        raw = connection.connection.cursor()
        raw.execute("SELECT 1")
        for statement in WRITES[engine.dialect.name]:
            for one in statement.split("; "):
                raw.execute(one)
            rows = raw.fetchall() if raw.description else []
            driver = [getattr(raw, name, None) for name in ("rowcount", "lastrowid", "statusmessage")]
            raw.execute(ASKED[engine.dialect.name])
            told.append((statement, (rows, driver, raw.fetchall())))
        connection.commit()
    return told


@pytest.mark.parametrize("with_", [("journal",), ("gates",), ("journal", "gates")], ids="+".join)
def test_the_application_is_told_the_same_of_its_writes(legacy: sa.Engine, with_: tuple[str, ...]) -> None:
    without = _told(legacy)
    assert _told(legacy, *with_) == without


# -- a journal that an earlier version made ---------------------------------------------------------


def _by_sequence(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE medferry_change DROP COLUMN id, REPLICA IDENTITY DEFAULT")
        connection.exec_driver_sql(
            "ALTER TABLE medferry_change ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        )


def _position(engine: sa.Engine, journal: Journal) -> str:
    with snapshot(engine) as view:
        return f"{journal.epoch(view)}@{journal.now(view)}{journal._anchor(view)}"


@pytest.fixture
def earlier(engine: sa.Engine, journal: Journal) -> Journal:
    """The clinic's journal with numbers of a sequence, as earlier versions made it; of PostgreSQL."""
    if engine.dialect.name != "postgresql":
        pytest.skip("of PostgreSQL")
    _by_sequence(engine)
    return journal


def test_a_journal_with_a_sequence_is_told_and_mended_where_it_was(
    engine: sa.Engine, earlier: Journal, write: Callable[..., None]
) -> None:
    write("UPDATE remark SET text = 'x' WHERE id IN (1, 2)")
    before = _position(engine, earlier)
    assert "#3 " in before
    write("UPDATE remark SET text = 'x' WHERE id = 3")
    with engine.connect() as connection, pytest.raises(CaptureBroken, match="lastval") as told:
        earlier.check(connection)
    assert told.value.remedy == "Run `medferry capture install`; no change has gone by the journal."
    with pytest.raises(CaptureBroken, match="lastval"), next_cut(earlier, engine, engine, before):
        pass
    install(engine, earlier)
    assert install(engine, earlier) == []
    write("UPDATE remark SET text = 'x' WHERE id = 4")
    with next_cut(earlier, engine, engine, before) as (_, cut):
        assert cut.keys == {"remark": ("3", "4")}
    with engine.begin() as connection:
        ids = list(connection.scalars(sa.text("SELECT id FROM medferry_change ORDER BY id")))
        assert ids[:4] == [1, 2, 3, 4] and ids[4] > 10**15
        assert not connection.scalar(sa.text("SELECT to_regclass('medferry_change_id_seq')"))
    write("DELETE FROM medferry_change WHERE id = 3")
    with pytest.raises(PositionLost), next_cut(earlier, engine, engine, before):
        pass


def test_a_mended_journal_is_as_a_new_one(engine: sa.Engine, earlier: Journal) -> None:
    install(engine, earlier)
    mended = _catalogue(engine)
    remove(engine, earlier)
    install(engine, earlier)
    assert mended == _catalogue(engine)


def _catalogue(engine: sa.Engine) -> list[object]:
    of_table = "'medferry_change'::regclass"
    with engine.connect() as connection:
        columns = connection.execute(sa.text(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid) "
            "FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
            f"WHERE attrelid = {of_table} AND attnum > 0 AND NOT attisdropped ORDER BY attname"
        ))  # fmt: skip
        indexes = connection.scalars(
            sa.text(f"SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = {of_table} ORDER BY 1")
        )
        identity = connection.scalar(sa.text(f"SELECT relreplident FROM pg_class WHERE oid = {of_table}"))
        return [*map(tuple, columns), *indexes, identity]


def test_rows_that_share_an_id_and_a_clock_that_goes_back_lose_nothing(
    engine: sa.Engine, journal: Journal, write: Callable[..., None]
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("of PostgreSQL")
    write("UPDATE remark SET text = 'x' WHERE id IN (1, 2)", "UPDATE medferry_change SET id = 5000000000000000")
    with next_cut(journal, engine, engine, None) as (_, start):
        pass
    assert "#5000000000000000 " in start.position
    write(
        "UPDATE remark SET text = 'y' WHERE id = 3", "UPDATE medferry_change SET id = 5000000000000000 WHERE key = '3'"
    )
    write("UPDATE remark SET text = 'y' WHERE id = 4", "UPDATE medferry_change SET id = 17 WHERE key = '4'")
    with next_cut(journal, engine, engine, start.position) as (_, cut):
        assert cut.keys == {"remark": ("3", "4")}
    with next_cut(journal, engine, engine, cut.position) as (_, none):
        assert none.keys == {}
    write("TRUNCATE medferry_change", "UPDATE remark SET text = 'z' WHERE id = 5")
    with pytest.raises(PositionLost), next_cut(journal, engine, engine, cut.position):
        pass


def test_a_published_journal_can_be_pruned(engine: sa.Engine, journal: Journal, write: Callable[..., None]) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("of PostgreSQL")
    write("CREATE PUBLICATION everything FOR ALL TABLES", "UPDATE remark SET text = 'x' WHERE id = 1")
    try:
        write("DELETE FROM medferry_change")
    finally:
        write("DROP PUBLICATION everything")
