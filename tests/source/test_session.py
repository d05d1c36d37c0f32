"""Whatever a server, a database or an account has set: values read the same, nothing is hidden, nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.errors import SourceError
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.session import POSTGRESQL

MYSQL_NAMES = ("mysql", "mariadb")


def only(engine: sa.Engine, sql: str) -> dict[str, Any]:
    with snapshot(engine) as connection:
        (row,) = stream(connection, sa.text(sql), {})
    return row


def test_a_snapshot_cannot_write(reader: sa.Engine, owner: sa.Connection) -> None:
    owner.exec_driver_sql("DROP TABLE IF EXISTS fixed")
    owner.exec_driver_sql("CREATE TABLE fixed (id INTEGER)")
    with pytest.raises(SourceError, match="refused a query"), snapshot(reader) as connection:
        connection.exec_driver_sql("INSERT INTO fixed VALUES (1)")
    assert only(reader, "SELECT COUNT(*) AS number FROM fixed") == {"number": 0}


def test_only_the_snapshot_is_bound(reader: sa.Engine, owner: sa.Connection) -> None:
    """Whoever else has the connection from the pool afterwards may write: the import of CSV files, say."""
    owner.exec_driver_sql("DROP TABLE IF EXISTS free")
    owner.exec_driver_sql("CREATE TABLE free (id INTEGER)")
    with snapshot(reader) as connection:
        connection.exec_driver_sql("SELECT 1")
    with reader.begin() as connection:
        connection.exec_driver_sql("INSERT INTO free VALUES (1)")
    assert only(reader, "SELECT COUNT(*) AS number FROM free") == {"number": 1}


def test_a_connection_serves_many_snapshots(reader: sa.Engine) -> None:
    """A driver that prepares what it has sent often would break on settings that are sent as one statement."""
    for number in range(12):
        assert only(reader, "SELECT 7 AS number") == {"number": 7}, number


def test_a_snapshot_is_one_view(reader: sa.Engine, owner: sa.Connection) -> None:
    if reader.dialect.name == "sqlite":
        pytest.skip("SQLite's view is that of one statement")
    owner.exec_driver_sql("DROP TABLE IF EXISTS growing")
    owner.exec_driver_sql("CREATE TABLE growing (id INTEGER)")
    with snapshot(reader) as connection:
        count = sa.text("SELECT COUNT(*) FROM growing")
        before = connection.scalar(count)
        owner.exec_driver_sql("INSERT INTO growing VALUES (1)")
        assert connection.scalar(count) == before == 0


def test_two_columns_of_one_name_are_refused(reader: sa.Engine) -> None:
    inner = "SELECT 1 AS id, 'Ada' AS name, 'North Clinic' AS name"
    for sql in (inner, f"SELECT * FROM ({inner}) AS entity_rows"):
        with pytest.raises(SourceError) as told:
            only(reader, sql)
        assert "Ada" not in str(told.value)
        if reader.dialect.name not in MYSQL_NAMES:  # which refuses itself to select from it
            assert "two columns of the name name" in told.value.problem
        assert "a name of its own" in told.value.remedy


def test_postgresql_reads_the_same_under_any_setting() -> None:
    odd = {"TimeZone": "'Asia/Kathmandu'", "DateStyle": "'SQL, DMY'", "IntervalStyle": "'postgres_verbose'",
           "bytea_output": "'escape'", "extra_float_digits": "0"}  # fmt: skip
    sql = (
        "SELECT DATE '1980-03-04' AS day, TIMESTAMPTZ '2020-05-06 07:08:09+00' AS moment, "
        "INTERVAL '1 day 2:00' AS span, CAST('\\x00ff' AS bytea) AS bytes, "
        "CAST(0.1 AS double precision) + 0.2 AS number"
    )
    with servers.embedded() as server:
        owner = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
        before = only(connect_engine(server.url), sql)
        with owner.connect() as connection:
            for name, value in odd.items():
                connection.exec_driver_sql(f"ALTER DATABASE legacy SET {name} = {value}")
        engine = connect_engine(server.url)
        assert only(engine, sql) == before
        assert before["moment"] == "2020-05-06 07:08:09+00"
        assert (before["day"], before["span"], before["number"]) == (
            "1980-03-04",
            "1 day 02:00:00",
            0.30000000000000004,
        )
        with snapshot(engine) as connection:
            settings = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in POSTGRESQL}
        assert settings == {name: value.strip("'") for name, value in POSTGRESQL.items()}
        engine.dispose()
        owner.dispose()


def test_rows_that_a_policy_hides_are_an_error() -> None:
    with servers.embedded() as server:
        owner = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
        with owner.connect() as connection:
            for statement in (
                "CREATE TABLE patients (id INTEGER, vip BOOLEAN)",
                "INSERT INTO patients VALUES (1, false), (2, true)",
                "ALTER TABLE patients ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY no_vip ON patients USING (NOT vip)",
                "CREATE ROLE clerk LOGIN PASSWORD 'clerk'",
                "GRANT SELECT ON patients TO clerk",
            ):
                connection.exec_driver_sql(statement)
        clerk = connect_engine(
            sa.make_url(server.url).set(username="clerk", password="clerk").render_as_string(hide_password=False)
        )
        with pytest.raises(SourceError) as told:
            only(clerk, "SELECT COUNT(*) AS number FROM patients")
        assert "BYPASSRLS" in told.value.remedy
        clerk.dispose()
        owner.dispose()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with servers.embedded() as server:
        yield server.url


@pytest.mark.parametrize(
    ("encoding", "stored", "read"),
    [
        ("SQL_ASCII", b"Jos\xc3\xa9", "José"),
        ("SQL_ASCII", b"Jos\xe9", "Jos\udce9"),
        ("WIN1252", b"Jos\xe9 \x80", "José €"),
        ("WIN1252", b"x\x81", "x\udc81"),
        ("LATIN1", b"Jos\xe9", "José"),
    ],
)
def test_bytes_of_a_database_that_is_not_utf_8(postgresql: str, encoding: str, stored: bytes, read: str) -> None:
    import psycopg

    url = sa.make_url(postgresql)
    made = f"CREATE DATABASE other ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    owner = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS other WITH (FORCE)")
        connection.exec_driver_sql(made)
    owner.dispose()
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname="other", autocommit=True
    ) as plain:
        plain.execute("CREATE TABLE people (name text)")
        plain.execute(f"SET client_encoding = {encoding}")
        plain.execute(b"INSERT INTO people VALUES ('" + stored + b"')")
    engine = connect_engine(url.set(database="other").render_as_string(hide_password=False))
    assert only(engine, "SELECT name FROM people") == {"name": read}
    with snapshot(engine) as connection:
        found = list(stream(connection, sa.text("SELECT name FROM people WHERE name = :name"), {"name": "Ada"}))
    assert found == []
    with pytest.raises(SourceError, match=r"refused a query|encoding lacks"):
        only(engine, "SELECT '\u65e5' || chr(256) AS word")
    engine.dispose()


def test_mariadb_reads_the_same_under_any_setting(reader: sa.Engine, owner: sa.Connection) -> None:
    if reader.dialect.name not in MYSQL_NAMES:
        pytest.skip("MariaDB's own settings")
    server = sa.create_engine(reader.url.set(username="root"), isolation_level="AUTOCOMMIT")
    root = server.connect()
    odd = {"time_zone": "'-05:00'", "sql_mode": "'PAD_CHAR_TO_FULL_LENGTH'", "group_concat_max_len": "4",
           "sql_select_limit": "1", "sql_auto_is_null": "1", "max_error_count": "0",
           "max_sort_length": "64", "innodb_lock_wait_timeout": "40", "lock_wait_timeout": "40"}  # fmt: skip
    was = {name: owner.exec_driver_sql(f"SELECT @@global.{name}").scalar() for name in odd}
    owner.exec_driver_sql("DROP TABLE IF EXISTS pinned")
    owner.exec_driver_sql("CREATE TABLE pinned (id INTEGER, code CHAR(5), stamp TIMESTAMP NULL)")
    owner.exec_driver_sql("SET SESSION time_zone = '+00:00'")
    owner.exec_driver_sql(
        "INSERT INTO pinned VALUES (1, 'abc', '2024-01-15 08:30:00'), (2, 'abc', '2024-01-15 08:30:00')"
    )
    try:
        for name, value in odd.items():
            root.exec_driver_sql(f"SET GLOBAL {name} = {value}")
        reader.dispose()
        with snapshot(reader) as connection:
            rows = list(stream(connection, sa.text("SELECT * FROM pinned ORDER BY id"), {}))
            (joined,) = stream(connection, sa.text("SELECT GROUP_CONCAT(code) AS codes FROM pinned"), {})
            mode = connection.scalar(sa.text("SELECT @@sql_mode"))
        assert [row["id"] for row in rows] == [1, 2]
        assert rows[0] == {"id": 1, "code": "abc", "stamp": "2024-01-15 08:30:00+00:00"}
        assert joined == {"codes": "abc,abc"}
        assert mode == "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO"
    finally:
        for name, value in was.items():
            root.exec_driver_sql(
                f"SET GLOBAL {name} = '{value}'" if isinstance(value, str) else f"SET GLOBAL {name} = {value}"
            )


def test_a_server_s_warning_is_an_error(reader: sa.Engine) -> None:
    if reader.dialect.name not in MYSQL_NAMES:
        pytest.skip("MySQL's way to tell that a value was cut off")
    for sql, number in (("SELECT 'x' + 0 AS number", 1292), ("SELECT 1 / 0 AS number", 1365)):
        with pytest.raises(SourceError, match=f"warning {number}"):
            only(reader, sql)
    with pytest.raises(SourceError, match="GROUP_CONCAT cut a value off"), snapshot(reader) as connection:
        connection.exec_driver_sql("SET SESSION group_concat_max_len = 4")
        list(
            stream(connection, sa.text("SELECT GROUP_CONCAT(n) AS ns FROM (SELECT 123 AS n UNION SELECT 456) AS t"), {})
        )
