"""What a trigger logs of a key is the text under which the manifest keeps the record, whatever its columns hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.errors import SourceUnavailable
from medferry.source.changes.cuts import next_cut, writing
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.rules import KeySql, watched
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.lookup import units_of_logged

COLUMNS = {
    "word": ("VARCHAR(20)", "'a/b\\c'"),
    "padded": ("CHAR(6)", "'ab'"),
    "whole": ("BIGINT", "7"),
    "price": ("DECIMAL(8,2)", "1.50"),
    "share": ("DOUBLE PRECISION", "0.5"),
    "round": ("DOUBLE PRECISION", "2"),
    "day": ("DATE", "'2024-02-29'"),
}
MORE = {
    "postgresql": {
        "at": ("TIMESTAMPTZ", "'2024-03-31 02:30:00.5+02'"),
        "uid": ("UUID", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
        "flag": ("BOOLEAN", "true"),
        "raw": ("BYTEA", "decode(repeat('00ff', 40), 'hex')"),
    },
    "mysql": {
        "flag": ("BIT(1)", "b'1'"),
        "bits": ("BIT(12)", "b'10101'"),
        "raw": ("VARBINARY(80)", "UNHEX(REPEAT('00FF', 40))"),
        "at": ("TIMESTAMP(3) NULL", "'2024-07-01 02:30:00.5'"),
        "zero": ("TIMESTAMP NULL", "0"),
    },
}


def columns_of(engine: sa.Engine) -> dict[str, tuple[str, str]]:
    name = {"mariadb": "mysql"}.get(engine.dialect.name, engine.dialect.name)
    return COLUMNS | MORE.get(name, {})


def keys_of(engine: sa.Engine) -> dict[str, tuple[str, ...]]:
    """Entity → its key's columns: each column by itself, and several together."""
    names = list(columns_of(engine))
    return {name: (name,) for name in names} | {"pair": ("word", "whole"), "every": tuple(names)}


def entity(name: str, key: tuple[str, ...]) -> SourceEntity:
    return SourceEntity(name, Path("x"), key, "clinic", None, name, "SELECT * FROM typed", {})


@pytest.fixture
def typed(engine: sa.Engine) -> Iterator[Callable[[], None]]:
    """A table with a column of each type, whose journal logs a key of each; returns what changes its row."""
    names = columns_of(engine)
    literals = [value.replace("\\", "\\\\") if engine.dialect.name in ("mysql", "mariadb") else value
                for _, value in names.values()]  # fmt: skip
    journal = journal_of(engine, watched({name: {"typed": list(key)} for name, key in keys_of(engine).items()}))
    with engine.begin() as connection:
        for table in ("typed", "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in names.items())
        connection.exec_driver_sql(f"CREATE TABLE typed (clinic VARCHAR(9), {columns})")
    install(engine, journal)

    def write() -> None:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'")
            elif engine.dialect.name != "sqlite":
                connection.exec_driver_sql("SET time_zone = '+09:30', sql_mode = ''")
            connection.exec_driver_sql(
                f"INSERT INTO typed VALUES ('c1', {', '.join(literals)})", execution_options={"no_parameters": True}
            )

    yield write
    remove(engine, journal)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE typed")


def test_the_text_that_is_logged_is_the_key_that_is_read(engine: sa.Engine, typed: Callable[[], None]) -> None:
    keys: dict[str, dict[str, KeySql]] = {name: {"typed": list(key)} for name, key in keys_of(engine).items()}
    journal = journal_of(engine, watched(keys))
    with next_cut(journal, engine, engine, None) as (_, start):
        pass
    typed()
    with next_cut(journal, engine, engine, start.position) as (connection, cut):
        entities = [entity(name, key) for name, key in keys_of(engine).items()]
        (row,) = stream(connection, sa.text("SELECT * FROM typed"), {})
        assert {one.name: cut.keys[one.name] for one in entities} == {
            one.name: (one.ledger_key_of(row),) for one in entities
        }
        for one in entities:
            assert units_of_logged(connection, one, cut.keys[one.name]) == {one.ledger_key_of(row): "c1"}
    assert cut.keys["pair"] == ("a\\/b\\\\c/7",)


def test_a_key_in_another_spelling_is_found_as_it_is_read(engine: sa.Engine, typed: Callable[[], None]) -> None:
    """An expression of the engineer's may print what the key's column holds otherwise."""
    typed()
    with snapshot(engine) as connection:
        assert units_of_logged(connection, entity("price", ("price",)), ["1.5000", "9"]) == {
            ("1.5" if engine.dialect.name == "sqlite" else "1.50"): "c1"
        }


def test_keys_are_looked_up_by_several_columns_of_the_changed_row(engine: sa.Engine) -> None:
    select = "SELECT l.clinic, l.number FROM item l WHERE l.clinic = {row}.clinic AND l.number = {row}.number"
    journal = journal_of(engine, watched({"item": {"item": ["clinic", "number"], "note": select}}))
    statements = (
        "CREATE TABLE item (clinic VARCHAR(9), number INTEGER, PRIMARY KEY (clinic, number))",
        "CREATE TABLE note (id INTEGER PRIMARY KEY, clinic VARCHAR(9), number INTEGER)",
        "INSERT INTO item VALUES ('a/b', 1), ('a/b', 2)",
    )
    with engine.begin() as connection:
        for table in ("item", "note", "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        for statement in statements:
            connection.exec_driver_sql(statement)
    install(engine, journal)
    with next_cut(journal, engine, engine, None) as (_, start):
        pass
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO note VALUES (1, 'a/b', 2), (2, NULL, 2), (3, 'nowhere', 1)")
    with next_cut(journal, engine, engine, start.position) as (_, cut):
        assert cut.keys == {"item": ("a\\/b/2",)}
    remove(engine, journal)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE item")
        connection.exec_driver_sql("DROP TABLE note")


def test_being_in_each_others_way_is_to_be_tried_again(engine: sa.Engine) -> None:
    """A lock that somebody else holds, while a cut is marked."""
    if engine.dialect.name == "sqlite":
        pytest.skip("it waits for the file's lock, by a timeout of its own")
    impatient = {"postgresql": "SET LOCAL lock_timeout = '50ms'"}.get(
        engine.dialect.name, "SET SESSION innodb_lock_wait_timeout = 1"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS held")
        connection.exec_driver_sql("CREATE TABLE held (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO held VALUES (1)")
    with engine.connect() as other:
        other.exec_driver_sql("UPDATE held SET id = 2 WHERE id = 1")
        with (
            pytest.raises(SourceUnavailable, match=r"in each other's way .* (55P03|1205)"),
            writing(engine, journal_of(engine, {})) as connection,
        ):
            connection.exec_driver_sql(impatient)
            connection.exec_driver_sql("UPDATE held SET id = 3 WHERE id = 1")
        other.rollback()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE held")


def test_a_server_that_is_away_is_to_be_tried_again() -> None:
    """Nobody listens on port 1: it is no fault of the capture."""
    for kind in ("postgresql", "mysql"):
        away = connect_engine(f"{kind}://nobody:x@127.0.0.1:1/nowhere")
        with pytest.raises(SourceUnavailable, match="did not answer"), writing(away, journal_of(away, {})):
            pass
