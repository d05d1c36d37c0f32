"""Each setting that a session may have, at each odd value that it takes: no value and no row is another one for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.errors import SourceError
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.session import MYSQL, ONE_KIND, POSTGRESQL

Found = list[Any]


def probed(connection: sa.Connection, queries: tuple[str, ...]) -> Found:
    found: Found = []
    for sql in queries:
        try:
            found.append(list(stream(connection, sa.text(sql.replace(":", "\\:")), {})))
        except (SourceError, sa.exc.DBAPIError):
            return [*found, "refused"]
    return found


def bare_and_pinned(engine: sa.Engine, setting: str, queries: tuple[str, ...]) -> tuple[Found, Found]:
    """What a session that has `setting` gives, and what it gives once it is pinned."""
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(setting)
            connection.commit()
            bare = probed(connection, queries)
        with snapshot(engine) as connection:  # the same: the pool has no other
            return bare, probed(connection, queries)
    finally:
        engine.dispose()


POSTGRESQL_QUERIES = (
    "SELECT TIMESTAMPTZ '2020-05-06 07:08:09+00' AS moment, CAST('2020-01-01 12:00 IST' AS timestamptz) AS named, "
    "INTERVAL '1 day 2:00' AS span, CAST(decode('00ff', 'hex') AS text) AS bytes, 0.1::float8 + 0.2 AS number, "
    "'a\\\\b' AS slashes, "
    "to_char(1234.5, '9G999D9') AS digits, to_char(DATE '2020-03-01', 'TMMonth') AS month, "
    "CAST(to_tsvector('running') AS text) AS word, CAST(CAST('{a,NULL}' AS text[]) AS text) AS many, "
    "CAST(xmlelement(name x, decode('00ff', 'hex')) AS text) AS bytes_in_xml, quote_ident('a') AS name",
    "SELECT CAST('a' AS xml) AS part_of_xml",
    "SELECT E'a\\'b' AS quoted",
    "SELECT id FROM odd_rows WHERE gone = NULL",
    "SELECT count(*) AS number FROM odd_words WHERE words @> ARRAY[7]",
)
POSTGRESQL_MADE = (
    "CREATE TABLE odd_rows AS SELECT 1 AS id, CAST(NULL AS TEXT) AS gone",
    "CREATE TABLE odd_words AS SELECT ARRAY[mod(n, 50)] AS words FROM generate_series(1, 20000) AS n",
    "CREATE INDEX odd_words_gin ON odd_words USING gin (words)",
    "VACUUM ANALYZE odd_words",
)
POSTGRESQL_TEXTS = {
    "DateStyle": "SQL, DMY",
    "TimeZone": "Asia/Kathmandu",
    "timezone_abbreviations": "India",
    "default_text_search_config": "pg_catalog.german",
}
COSTS = "Query Tuning|Resource Usage|Write-Ahead Log|Reporting|Replication|Connections|Autovacuum"
"""Numbers of these say when another way to the same is taken."""
NOT_A_VALUE = {
    *("application_name", "debug_io_direct", "local_preload_libraries", "restrict_nonsystem_relation_kind"),
    *("default_table_access_method", "default_tablespace", "temp_tablespaces", "createrole_self_grant"),
    "client_encoding",  # the driver says it itself
    *("search_path", "lc_monetary", "lc_numeric", "lc_time"),  # the database's own, as docs/types.md says
}


def odd_values(name: str, kind: str, setting: str, low: str, high: str, listed: list[str] | None) -> list[str]:
    if kind == "bool":
        return ["off" if setting == "on" else "on"]
    if kind == "enum":
        return [value for value in listed or () if value != setting]
    if kind == "string":
        return [] if name in NOT_A_VALUE else [POSTGRESQL_TEXTS[name]]
    return [value for value in (low, high, "1") if value != setting and float(low) <= float(value)]


@pytest.fixture
def postgresql() -> Iterator[str]:
    try:
        with servers.postgresql() as server:
            owner = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
            with owner.connect() as connection:
                for statement in POSTGRESQL_MADE:
                    connection.exec_driver_sql(statement)
            owner.dispose()
            yield server.url
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


def test_no_setting_of_postgresql_changes_what_is_read(postgresql: str) -> None:
    asked = (
        "SELECT name, vartype, setting, min_val, max_val, enumvals FROM pg_settings WHERE context = 'user' "
        "AND name !~ '^transaction_|_timeout$' "  # the transaction's own, and what ends in an error
        f"AND (vartype NOT IN ('integer', 'real') OR category !~ '^({COSTS})' AND name !~ '^vacuum') ORDER BY name"
    )
    owner = sa.create_engine(postgresql)
    with owner.connect() as connection:
        settings = connection.exec_driver_sql(asked).all()
    owner.dispose()
    engine = connect_engine(postgresql)
    plain, usual = bare_and_pinned(engine, "SELECT 1", POSTGRESQL_QUERIES)
    changed, changes = set(), set()
    for name, *known in settings:
        for value in odd_values(name, *known):
            bare, pinned = bare_and_pinned(engine, f"SELECT set_config('{name}', '{value}', false)", POSTGRESQL_QUERIES)
            changed |= {(name, value)} if pinned != usual else set()
            changes |= {name} if bare != plain else set()
    assert changed == set()
    # The queries tell each of them, but for names of another language, which a system may not have, and hidden rows.
    assert changes == POSTGRESQL.keys() - {"lc_numeric", "lc_time", "row_security"}


MARIADB_QUERIES = (
    "SELECT p.* FROM odd_rows p ORDER BY p.text",
    "SELECT total / parts AS share, DATE_FORMAT(day, '%M') AS month, WEEK(day) AS week FROM odd_rows ORDER BY id",
    "SELECT GROUP_CONCAT(code ORDER BY id) AS codes FROM odd_rows",
    "SELECT COUNT(*) AS number FROM odd_versions",
    "SELECT 'a\nb' REGEXP 'a.b' AS matched, "
    "NOT 1 BETWEEN -5 AND 5 AS nothing, YEAR(CAST(CAST('10:00:00' AS TIME) AS DATETIME)) > 0 AS has_day, "
    "CAST(TIME '10:00:00.7' AS TIME(0)) AS rounded, '' IS NULL AS empty",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT MAX(i) AS deep FROM n",
    "SELECT CAST('x' AS INTEGER) AS number",
)
MARIADB_MADE = (
    "DROP TABLE IF EXISTS odd_rows",
    "DROP TABLE IF EXISTS odd_versions",
    "CREATE TABLE odd_rows (id INTEGER PRIMARY KEY, code CHAR(5), stamp TIMESTAMP NULL, total DECIMAL(10, 0), "
    "parts INTEGER, day DATE, text TEXT)",
    "CREATE TABLE odd_versions (id INTEGER) WITH SYSTEM VERSIONING",
    "SET SESSION time_zone = '+00:00'",
    "INSERT INTO odd_rows VALUES (1, 'abc', '2024-01-15 08:30:00', 11, 4, '2021-03-01', CONCAT(REPEAT('x', 99), 'b')), "
    "(2, 'def', '2024-01-15 08:30:00', 1, 3, '2023-01-01', CONCAT(REPEAT('x', 99), 'a'))",
    "INSERT INTO odd_versions VALUES (1), (2)",
)
MARIADB_TEXTS = {
    "time_zone": "'-05:00'",
    "lc_time_names": "'de_DE'",
    "system_versioning_asof": "'2020-01-01'",
    "default_regex_flags": "'DOTALL'",
}


READS_SQL = ("ANSI_QUOTES", "IGNORE_SPACE", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT")
MARIADB_COSTS = "^(optimizer|innodb|log|binlog|wsrep|myisam|aria|query|column_compression|max_seeks)|(size|timeout)$"
"""Those that say how something is found, kept or logged, and those that end in an error."""


def odd_values_of(
    name: str, kind: str, setting: str, low: int | None, high: int | None, listed: str | None
) -> list[str]:
    if name in MARIADB_TEXTS:
        return [MARIADB_TEXTS[name]]
    if kind == "BOOLEAN":
        return ["0" if setting == "ON" else "1"]
    if kind in ("ENUM", "SET"):
        values = listed.split(",") if listed else []
        return [f"'{value}'" for value in values if value not in (setting, *READS_SQL)]
    return [] if low is None else [str(value) for value in (low, high) if str(value) != setting]


def test_no_setting_of_mariadb_changes_what_is_read(reader: sa.Engine, owner: sa.Connection) -> None:
    if reader.dialect.name not in ("mysql", "mariadb"):
        pytest.skip("MariaDB's own settings")
    for statement in MARIADB_MADE:
        owner.exec_driver_sql(statement)
    asked = sa.text(
        "SELECT LOWER(variable_name), variable_type, global_value, numeric_min_value, numeric_max_value, "
        "enum_value_list FROM information_schema.system_variables WHERE variable_scope = 'SESSION' "
        "AND read_only = 'NO' AND LOWER(variable_name) NOT REGEXP :costs ORDER BY 1"
    )
    plain, usual = bare_and_pinned(reader, "SELECT 1", MARIADB_QUERIES)
    changed, changes = set(), set()
    for name, *known in owner.execute(asked, {"costs": MARIADB_COSTS}).all():
        for value in odd_values_of(name, *known):
            try:
                bare, pinned = bare_and_pinned(reader, f"SET SESSION {name} = {value}", MARIADB_QUERIES)
            except sa.exc.DBAPIError:  # it is not for everybody to set
                continue
            changed |= {(name, value)} if pinned not in (usual, ["refused"]) else set()
            changes |= {name} if bare not in (plain, ["refused"]) else set()
    assert changed == set()
    # The queries tell each of them, but for those of other statements, and what MySQL alone has.
    others = {"sql_auto_is_null", "sql_quote_show_create", "innodb_lock_wait_timeout", "lock_wait_timeout"}
    assert changes == {*MYSQL, *ONE_KIND} - others - {"windowing_use_high_precision"}


def test_a_connection_s_own_character_set_is_the_driver_s(reader: sa.Engine, owner: sa.Connection) -> None:
    """Whatever a server has each connection begin with."""
    if reader.dialect.name not in ("mysql", "mariadb"):
        pytest.skip("MariaDB's own settings")
    root = sa.create_engine(reader.url.set(username="root"), isolation_level="AUTOCOMMIT")
    begun = "SET character_set_results = latin1, character_set_connection = latin1, collation_connection = latin1_bin"
    query = ("SELECT '\u017e' AS letter, 'a' = 'A' AS alike, CAST(1 AS CHAR) AS number",)
    try:
        with root.connect() as connection:
            _, usual = bare_and_pinned(reader, "SELECT 1", query)
            connection.exec_driver_sql(f"SET GLOBAL init_connect = '{begun}'")
            assert bare_and_pinned(reader, "SELECT 1", query) == (usual, usual)
            assert usual == [[{"letter": "\u017e", "alike": 1, "number": "1"}]]
            connection.exec_driver_sql("SET GLOBAL init_connect = ''")
    finally:
        root.dispose()
