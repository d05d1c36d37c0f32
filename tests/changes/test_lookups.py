"""Keys are looked up by a column of the changed row, whatever its type: its text in the journal means its value."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.journal import Cut, Journal
from medferry.source.changes.lookups import columns_of as columns_of_text
from medferry.source.changes.rules import watched
from medferry.source.database import snapshot

UUIDS = "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"

COLUMNS = {
    "small": ("SMALLINT", "-7", "8"),
    "whole": ("INTEGER", "7", "8"),
    "big": ("BIGINT", "9007199254740993", "9007199254740992"),
    "share": ("DOUBLE PRECISION", "0.1", "0.0000001"),
    "long_share": ("DOUBLE PRECISION", "123456.78901234567", "1e22"),
    "price": ("DECIMAL(8,2)", "1.50", "7"),
    "word": ("VARCHAR(20)", "'a/b'", "'it''s'"),
    "empty": ("VARCHAR(20)", "''", "'N'"),
    "padded": ("CHAR(6)", "'A1'", "'B1'"),
    "day": ("DATE", "'2024-02-29'", "'1900-01-01'"),
}
"""Name → type, the value that changes, another."""

MORE = {
    "sqlite": {
        "raw": ("BLOB", "x'00FF'", "x'27'"),
        "typeless_number": ("", "7", "'7'"),
        "typeless_text": ("", "'7'", "7"),
        "typeless_share": ("", "0.1", "'0.1'"),
        "typeless_bytes": ("", "x'41'", "'A'"),
        "words_of_numbers": ("TEXT", "7", "8.5"),
        "nul": ("TEXT", "CAST(x'410042' AS TEXT)", "'A'"),
    },
    "postgresql": {
        "raw": ("BYTEA", "decode(repeat('00ff', 40), 'hex')", "'\\x5c'"),
        "own_raw": ("own_bytes", "'\\x00ff'", "'\\x5c'"),
        "own_flag": ("own_flag", "true", "false"),
        "flag": ("BOOLEAN", "true", "false"),
        "single": ("REAL", "7.1", "1e-7"),
        "any_number": ("NUMERIC", "7.000", "8.1"),
        "moment": ("TIMESTAMP", "'2024-03-31 02:30:00.12'", "'0044-01-02 00:00:00 BC'"),
        "instant": ("TIMESTAMPTZ", "'2024-03-31 02:30:00.5+02'", "'infinity'"),
        "hour": ("TIME(3)", "'10:00:00.5'", "'24:00'"),
        "hour_there": ("TIMETZ", "'10:00+02'", "'10:00:00.5-01'"),
        "span": ("INTERVAL", "'1 year -2 days -03:04:05'", "'1 day'"),
        "uid": ("UUID", *UUIDS),
        "address": ("INET", "'10.0.0.1'", "'10.0.0.0/8'"),
        "net": ("CIDR", "'10.0.0.0/8'", "'::/0'"),
        "mac": ("MACADDR", "'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"),
        "bits": ("BIT(4)", "B'0101'", "B'1111'"),
        "one_bit": ("BIT(1)", "B'1'", "B'0'"),
        "more_bits": ("VARBIT", "B'0101'", "B'11'"),
        "numbers": ("INTEGER[]", "'{1,NULL}'", "'{3}'"),
        "words": ("TEXT[]", "ARRAY['a,b', 'it''s']", "'{}'"),
        "raws": ("BYTEA[]", "ARRAY['\\x00ff'::bytea]", "'{}'"),
        "flags": ("BOOLEAN[]", "'{t,f}'", "'{}'"),
        "instants": ("TIMESTAMPTZ[]", "ARRAY['2024-03-31 02:30:00.5+02'::timestamptz]", "'{}'"),
        "mood": ("mood", "'so so'", "'ok'"),
        "part": ("INT4RANGE", "'[1,5)'", "'[7,8)'"),
        "letter": ('"char"', "'x'", "'y'"),
        "title": ("NAME", "'d e'", "'abc'"),
        "amount": ("MONEY", "12.5", "1000"),
        "document": ("JSONB", """'{"a": "it''s"}'""", "'{}'"),
    },
    "mariadb": {
        "raw": ("VARBINARY(80)", "UNHEX(REPEAT('00FF', 40))", "x'5C'"),
        "fixed": ("BINARY(4)", "x'0001'", "x'DEADBEEF'"),
        "blob_": ("BLOB", "x'C3A9'", "x'41'"),
        "flag": ("BOOLEAN", "1", "0"),
        "bits": ("BIT(12)", "b'10101'", "b'1'"),
        "unsigned_": ("BIGINT UNSIGNED", "18446744073709551615", "18446744073709551614"),
        "filled": ("INT(8) ZEROFILL", "42", "43"),
        "filled_price": ("DECIMAL(10,2) ZEROFILL", "7", "8.5"),
        "single": ("FLOAT", "7.1", "0.3"),
        "long_single": ("FLOAT", "16777213", "16777214"),
        "fixed_share": ("DOUBLE(10,2)", "7.1", "7.12"),
        "moment": ("DATETIME", "'2024-03-31 02:30:00'", "'2024-03-31 02:30:01'"),
        "moment_6": ("DATETIME(6)", "'2024-03-31 02:30:00.12'", "'2024-03-31 02:30:00'"),
        "instant": ("TIMESTAMP NULL", "'2024-10-27 02:30:00'", "'2024-07-01 00:00:00'"),
        "instant_3": ("TIMESTAMP(3) NULL", "'2024-01-31 02:30:00.125'", "'2024-01-31 02:30:00'"),
        "hour": ("TIME(3)", "'-101:00:01.5'", "'10:00'"),
        "year_": ("YEAR", "2020", "1999"),
        "mood": ("ENUM('ok', 'so so')", "'so so'", "'ok'"),
        "moods": ("SET('a', 'b', 'c')", "'a,c'", "'a'"),
        "uid": ("UUID", *UUIDS),
        "address": ("INET6", "'2001:db8::1'", "'::1'"),
        "old_address": ("INET4", "'10.0.0.1'", "'10.0.0.2'"),
        "latin": ("VARCHAR(20) CHARACTER SET latin1", "'Zoë'", "'b'"),
        "wide": ("VARCHAR(20) CHARACTER SET utf16", "'Zoë'", "'b'"),
        "unpadded": ("VARCHAR(20) COLLATE utf8mb4_nopad_bin", "'A1 '", "'A1'"),
    },
}
OWN = (
    "CREATE TYPE mood AS ENUM ('ok', 'so so')",
    "CREATE DOMAIN short_bytes AS bytea CHECK (length(VALUE) < 99)",
    "CREATE DOMAIN own_bytes AS short_bytes",
    "CREATE DOMAIN own_flag AS boolean",
)
SESSION = {
    "postgresql": "SET LOCAL DateStyle = 'SQL, DMY'; SET LOCAL TimeZone = 'Asia/Tokyo'; "
    "SET LOCAL IntervalStyle = 'sql_standard'; SET LOCAL bytea_output = 'escape'; SET LOCAL extra_float_digits = -5",
    "mariadb": "SET time_zone = '+09:30', sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'",
}
"""What an application may have set while it writes."""


def columns_of(engine: sa.Engine) -> dict[str, tuple[str, str, str]]:
    return COLUMNS | MORE[engine.dialect.name]


def keys_of(engine: sa.Engine) -> dict[str, str]:
    """Entity → SELECT of its keys: of each column one that finds what is equal, and one that finds a null by a null."""
    same = {"postgresql": "IS NOT DISTINCT FROM", "mariadb": "<=>", "sqlite": "IS"}[engine.dialect.name]
    return {
        entity: f"SELECT f.id FROM found f WHERE f.{column} {operator} {{row}}.{column}"
        for column in columns_of(engine)
        for entity, operator in ((column, "="), (f"{column} or null", same))
    }


@pytest.fixture
def typed(engine: sa.Engine) -> Iterator[Journal]:
    """Two tables with a column of each type; of the one each column's keys are looked up in the other."""
    columns = columns_of(engine)
    with engine.begin() as connection:
        for table in ("changed", "found", "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        for statement in OWN if engine.dialect.name == "postgresql" else ():
            connection.exec_driver_sql(statement)
        declared = ", ".join(f"{name} {kind}" for name, (kind, _, _) in columns.items())
        for table, ids in (("changed", (1, 2, 3)), ("found", (10, 20, 30))):
            connection.exec_driver_sql(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {declared})")
            for number, row in zip(ids, (1, 2, 0), strict=True):
                values = ", ".join((kind, *two)[row] if row else "NULL" for kind, *two in columns.values())
                insert = f"INSERT INTO {table} VALUES ({number}, {values})"
                connection.exec_driver_sql(insert, execution_options={"no_parameters": True})
    journal = journal_of(engine, watched({entity: {"changed": select} for entity, select in keys_of(engine).items()}))
    install(engine, journal)
    yield journal
    remove(engine, journal)
    with engine.begin() as connection:
        for table in ("changed", "found"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        for statement in reversed(OWN if engine.dialect.name == "postgresql" else ()):
            connection.exec_driver_sql(statement.partition(" AS ")[0].replace("CREATE", "DROP"))


def test_a_change_finds_the_records_with_its_value_whatever_its_type(engine: sa.Engine, typed: Journal) -> None:
    for row, key in ((1, "10"), (2, "20")):
        cut = after(engine, typed, f"UPDATE changed SET id = {row + 100} WHERE id = {row}")
        assert (cut.refused, cut.whole) == ({}, frozenset())
        assert cut.keys == dict.fromkeys(keys_of(engine), (key,))
    cut = after(engine, typed, "UPDATE changed SET id = 103 WHERE id = 3")
    assert cut.keys == {f"{column} or null": ("30",) for column in columns_of(engine)}


def after(engine: sa.Engine, journal: Journal, statement: str) -> Cut:
    """The cut of one statement of an application."""
    with next_cut(journal, engine, engine, None) as (_, start):
        pass
    with engine.connect() as connection:
        if engine.dialect.name in SESSION:
            connection.exec_driver_sql(SESSION[engine.dialect.name])
        connection.exec_driver_sql(statement)
        connection.commit()
        connection.invalidate()
    with next_cut(journal, engine, engine, start.position) as (_, cut):
        return cut


def test_a_text_that_is_of_other_columns_means_everything_of_the_entity(engine: sa.Engine, typed: Journal) -> None:
    """It was logged before the definition, or a column's type, was changed."""
    with snapshot(engine) as connection:
        logged = [("raw", "changed", "no base64"), ("big", "changed", "1/2"), ("price", "changed", "\\1")]
        cut = typed.resolved(connection, "", [*logged, ("word", "changed", "Ta")])
    assert (cut.whole, cut.refused) == ({"raw", "big", "price"}, {})


LINKS = {
    "either": "SELECT p.id FROM found p WHERE p.id IN ({row}.old_id, {row}.new_id)",
    "one": "SELECT p.id FROM found p WHERE p.id = COALESCE({row}.new_id, {row}.old_id)",
    "both": "SELECT id FROM found WHERE id = {row}.old_id UNION SELECT id FROM found WHERE id = {row}.new_id",
    "any": "SELECT p.id FROM found p WHERE p.id = {row}.old_id OR p.id = {row}.new_id OR {row}.new_id IS NULL",
}


def test_a_link_of_two_columns_is_found_by_the_one_that_is_not_null(engine: sa.Engine) -> None:
    journal = journal_of(engine, watched({entity: {"link": select} for entity, select in LINKS.items()}))
    with engine.begin() as connection:
        for table in ("link", "found", "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        connection.exec_driver_sql("CREATE TABLE found (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO found VALUES (1), (2), (3)")
        connection.exec_driver_sql("CREATE TABLE link (old_id INTEGER, new_id INTEGER)")
    install(engine, journal)
    try:
        assert after(engine, journal, "INSERT INTO link VALUES (1, NULL)").keys == {
            "either": ("1",), "one": ("1",), "both": ("1",), "any": ("1", "2", "3"),
        }  # fmt: skip
        assert after(engine, journal, "UPDATE link SET new_id = 2").keys == {
            "either": ("1", "2"), "one": ("1", "2"), "both": ("1", "2"), "any": ("1", "2", "3"),
        }  # fmt: skip
        assert after(engine, journal, "UPDATE link SET old_id = NULL").keys["either"] == ("1", "2")
        assert after(engine, journal, "DELETE FROM link").keys == {
            "either": ("2",), "one": ("2",), "both": ("2",), "any": ("2",),
        }  # fmt: skip
    finally:
        remove(engine, journal)
        with engine.begin() as connection:
            for table in ("link", "found"):
                connection.exec_driver_sql(f"DROP TABLE {table}")


def test_the_columns_of_a_text() -> None:
    assert columns_of_text("") == [""]
    assert columns_of_text("a/\\N//\\\\N/\\/\n") == ["a", None, "", "\\N", "/\n"]
    assert columns_of_text("\\N") == [None]
    for text in ("\\", "a\\N", "\\Na", "a\\b", "a/\\"):
        with pytest.raises(ValueError):
            columns_of_text(text)
