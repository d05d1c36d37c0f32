"""Reading from real engines: every value as it is, every row in exactly one slice."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.errors import SettingsError, SourceError, SourceUnavailable
from medferry.runtime.staging import dump_row, load_row
from medferry.source.columns import check_columns
from medferry.source.count import count_by_unit
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.lookup import KEYS_AT_ONCE, row_of_key, stream_keys, units_of_keys
from medferry.source.profile import profile
from medferry.source.slices import cut, rows_of
from medferry.source.types.canonical import binary


def entity(sql: str, **variants: str) -> SourceEntity:
    return SourceEntity("thing", Path("thing.sql"), ("id",), "unit", None, "Thing", sql, variants)


def test_values_come_as_the_engine_prints_them(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE kinds (id INTEGER, unit VARCHAR(9), price DECIMAL(10, 2), born DATE, seen TIMESTAMP NULL, "
            "body TEXT, flag SMALLINT)"
        )
        connection.exec_driver_sql(
            "INSERT INTO kinds VALUES (1, 'u', 72.50, '2024-02-29', '2024-03-10 02:30:00', ' Grüße 😀 ', 0)"
            if engine.dialect.name != "mysql"
            else "INSERT INTO kinds VALUES (1, 'u', 72.50, '2024-02-29', '2024-03-10 03:30:00', ' Grüße 😀 ', 0)"
        )
    with snapshot(engine) as connection:
        row = row_of_key(connection, entity("SELECT * FROM kinds WHERE body <> 'a:b'"), "1")
    assert row is not None
    assert (row["born"], row["body"], row["flag"]) == ("2024-02-29", " Grüße 😀 ", 0)
    assert row["seen"].startswith("2024-03-10 0")
    assert str(row["price"]) in ("72.50", "72.5")  # SQLite has no decimals of its own
    assert load_row(dump_row(row)) == row


@pytest.mark.parametrize("rows_per_slice", [1, 3, 7, 10, 1_000])
@pytest.mark.parametrize("key", ["number", "text"])
def test_slices_hold_every_row_once(engine: sa.Engine, rows_per_slice: int, key: str) -> None:
    table = f"rows_{key}"
    things = entity(f"SELECT id, unit FROM {table}")
    with engine.begin() as connection:
        if table not in sa.inspect(engine).get_table_names():
            kind = "INTEGER" if key == "number" else "VARCHAR(20)"
            connection.exec_driver_sql(f"CREATE TABLE {table} (id {kind}, unit VARCHAR(9))")
            for number in range(57):
                name = str(number) if key == "number" else f"'{'Aa-_zÄ'[number % 6]}{number}'"
                unit = "big" if number % 3 else ("small" if number % 2 else "tiny")
                connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({name}, '{unit}')")
    with snapshot(engine) as connection:
        counts = count_by_unit(connection, things, ["big", "small", "tiny", "empty"])
        slices = cut(connection, things, counts, rows_per_slice)
        read = []
        for one in slices:
            statement, bound = rows_of(engine.dialect.name, things, one.units, one.low, one.high)
            rows = list(stream(connection, statement, bound))
            assert len(rows) == one.rows <= max(rows_per_slice, 1)
            read += [row["id"] for row in rows]
    assert len(read) == len(set(read)) == 57 == sum(counts.values())


KEY_KINDS = {
    "small": ("INTEGER", ["1", "2", "-3"]),
    "big": ("BIGINT", ["9007199254740993", "9007199254740992", "4"]),
    "decimal": ("DECIMAL(20, 0)", ["90071992547409931", "90071992547409932", "4"]),
    "text": ("VARCHAR(20)", ["1", "01", "a:b", "Ä'x", "%(x)s"]),
    "day": ("DATE", ["2024-02-29", "2024-03-01"]),
}


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_rows_come_by_the_keys_that_the_ledger_has_as_text(engine: sa.Engine, kind: str) -> None:
    column, keys = KEY_KINDS[kind]
    things = entity(f"SELECT id, unit FROM keyed_{kind}")
    insert = f"INSERT INTO keyed_{kind} VALUES (:id, :unit)"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE keyed_{kind} (id {column}, unit VARCHAR(9))")
        for key in keys:
            value = int(key) if kind in ("small", "big", "decimal") else key
            connection.execute(sa.text(insert).bindparams(sa.bindparam("id", value, sa.types.NullType()), unit="u"))
    for wanted in (keys, keys[:1], keys[1:], [*keys, "5", "-7"] if kind != "day" else keys):
        with snapshot(engine) as connection:
            rows = list(stream_keys(connection, things, ["u"], wanted))
            assert sorted(str(row["id"]) for row in rows) == sorted(set(wanted) & set(keys))
            assert units_of_keys(connection, things, wanted) == dict.fromkeys(set(wanted) & set(keys), "u")
            assert list(stream_keys(connection, things, ["another"], wanted)) == []


def test_keys_that_an_engine_takes_for_equal_are_not(engine: sa.Engine) -> None:
    things = entity("SELECT id, unit FROM alike")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alike (id VARCHAR(9), unit VARCHAR(9))")
        connection.exec_driver_sql("INSERT INTO alike VALUES ('a1', 'u'), ('B2', 'u')")
    with snapshot(engine) as connection:
        assert units_of_keys(connection, things, ["A1", "B2", "a1 "]) == {"B2": "u"}


def test_more_keys_than_a_statement_takes(engine: sa.Engine) -> None:
    number = 2 * KEYS_AT_ONCE + 7
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE many (id INTEGER, unit VARCHAR(9))")
        rows = [{"id": n, "unit": "even" if n % 2 == 0 else "odd"} for n in range(3 * number)]
        connection.execute(sa.text("INSERT INTO many VALUES (:id, :unit)"), rows)
    keys = [str(n) for n in range(0, 3 * number, 3)]
    with snapshot(engine) as connection:
        read = [row["id"] for row in stream_keys(connection, entity("SELECT id, unit FROM many"), ["even"], keys)]
        assert list(stream_keys(connection, entity("SELECT id, unit FROM many WHERE 1 = 0"), ["even"], keys)) == []
        assert list(stream_keys(connection, entity("SELECT id, unit FROM many"), ["even"], [])) == []
    assert sorted(read) == [n for n in range(0, 3 * number, 3) if n % 2 == 0]


def test_columns_are_judged_before_a_row_is_read(engine: sa.Engine) -> None:
    with snapshot(engine) as connection:
        check_columns(connection, entity("SELECT 1 AS id, 'a:b' AS unit"))
    with pytest.raises(SourceError) as told, snapshot(engine) as connection:
        check_columns(connection, entity("SELECT 1 AS id, 'u' AS unit, 'u' AS unit"))
    assert "a name of its own" in told.value.remedy


def test_two_hundred_tiny_units_share_slices(engine: sa.Engine) -> None:
    counts = {f"u{number:03}": 2 for number in range(200)}
    with snapshot(engine) as connection:
        slices = cut(connection, entity("SELECT 1 AS id, 'x' AS unit"), counts, 100)
    assert [one.rows for one in slices] == [100] * 4
    assert sorted(unit for one in slices for unit in one.units) == sorted(counts)


def test_rows_of_unknown_units_and_doubled_keys_stop_the_run(engine: sa.Engine) -> None:
    with snapshot(engine) as connection:
        with pytest.raises(SourceError, match="1 row of thing belongs to units that the plan does not name: x"):
            count_by_unit(connection, entity("SELECT 1 AS id, 'x' AS unit"), ["north"])
        with pytest.raises(SourceError, match=r"does not name: NULL \(they have none\)"):
            count_by_unit(connection, entity("SELECT 1 AS id, NULL AS unit"), ["north"])
        doubled = "SELECT 1 AS id, 'north' AS unit UNION ALL SELECT 1, 'north'"
        with pytest.raises(SourceError, match="not unique: 2 rows, 1 keys"):
            count_by_unit(connection, entity(doubled), ["north"])
        with pytest.raises(SourceError, match=r"1 of 1 rows of .* have no key \(NULL in"):
            count_by_unit(connection, entity("SELECT NULL AS id, 'north' AS unit"), ["north"])


def test_a_failing_query_is_told_without_its_data(engine: sa.Engine) -> None:
    with pytest.raises(SourceError) as told, snapshot(engine) as connection:
        count_by_unit(connection, entity("SELECT id, unit FROM nowhere WHERE name = 'Ada Byron'"), ["north"])
    assert "Ada" not in str(told.value)
    assert told.value.__cause__ is None


def test_a_dialect_s_own_query_wins() -> None:
    things = entity("SELECT 1", mysql="SELECT 2")
    assert [things.query(name) for name in ("sqlite", "mysql", "mariadb")] == ["SELECT 1", "SELECT 2", "SELECT 2"]


def test_undecodable_bytes_survive_staging() -> None:
    engine = connect_engine("sqlite://")
    with snapshot(engine) as connection:
        [row] = stream(connection, sa.text("SELECT CAST(x'636166e9' AS TEXT) AS word"), {})
    assert load_row(dump_row(row)) == {"word": "caf\udce9"}


def test_bytes_survive_staging_beside_undecodable_text() -> None:
    for text in ("x", "caf\udce9", '{"base64":"AA=="}'):
        row = {"scan": binary(b"\0\xff"), "note": text}
        read = load_row(dump_row(row))
        assert read == row
        assert (str(read["scan"]), read["note"]) == ("AP8=", text)


@pytest.mark.parametrize("url", ["nonsense", "oracle://u@h/x", "postgresql+nodriver://u@h/x"])
def test_an_unusable_url_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match=r"not usable|not read"):
        connect_engine(url)


def test_a_driver_that_could_change_values_is_refused() -> None:
    with pytest.raises(SettingsError, match="driver aiosqlite"):
        connect_engine("sqlite+aiosqlite:///x.db")


def test_a_database_that_is_not_there_is_transient() -> None:
    engine = connect_engine("postgresql://u:secret@127.0.0.1:1/x")
    with pytest.raises(SourceUnavailable) as told, snapshot(engine):
        pass
    assert "secret" not in str(told.value)


def test_a_file_of_sqlite_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    engine = connect_engine(f"sqlite:///{tmp_path}/mistyped.db")
    with pytest.raises(SettingsError, match=r"There is no file .*mistyped\.db"), snapshot(engine):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_profile_counts() -> None:
    rows = [{"a": None, "b": "x"}, {"a": " ", "b": 7}, {"a": "long text", "b": "x"}]
    first, second = profile(rows)
    assert (first.rows, first.nulls, first.blanks, first.longest, first.distinct) == (3, 1, 1, 9, 2)
    assert dict(second.kinds) == {"str": 2, "int": 1}
