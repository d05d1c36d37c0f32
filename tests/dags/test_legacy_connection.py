"""The legacy database from an Airflow connection: each extra reaches the driver, or is refused by name."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.sdk import Connection

from demo_clinics import database as servers
from medferry.errors import SettingsError
from medferry.source.database import connect_engine, snapshot
from medferry_airflow.legacy_connection import legacy_source


def connection(**fields: Any) -> Connection:
    if isinstance(fields.get("extra"), dict):
        fields["extra"] = json.dumps(fields["extra"])
    return Connection(conn_id="legacy", **fields)


@pytest.mark.parametrize(
    ("given", "url", "arguments"),
    [
        ({"conn_type": "sqlite", "host": "/data/legacy.db"}, "sqlite:////data/legacy.db", {}),
        (
            {"conn_type": "sqlite", "host": "/l.db", "extra": {"timeout": "5"}},
            "sqlite:////l.db",
            {"timeout": 5.0},
        ),
        (
            {
                "conn_type": "postgres",
                "login": "u",
                "password": "p@ss/word",
                "host": "db",
                "port": 5433,
                "schema": "emr",
            },
            "postgresql+psycopg://u:p%40ss%2Fword@db:5433/emr",
            {},
        ),
        (
            {"conn_type": "postgres", "host": "db", "schema": "emr", "extra": {"sslmode": "require", "keepalives": 0}},
            "postgresql+psycopg://db/emr",
            {"sslmode": "require", "keepalives": 0},
        ),
        ({"conn_type": "mysql", "login": "u", "host": "db", "schema": "emr"}, "mysql+pymysql://u@db/emr", {}),
        (
            {"conn_type": "mysql", "host": "db", "extra": {"ssl": {"ca": "/ca.pem", "check_hostname": False}}},
            "mysql+pymysql://db",
            {"ssl": {"ca": "/ca.pem", "check_hostname": False}},
        ),
        (
            {"conn_type": "mysql", "host": "db", "extra": {"ssl": '{"ca": "/ca.pem"}', "connect_timeout": "5"}},
            "mysql+pymysql://db",
            {"ssl": {"ca": "/ca.pem"}, "connect_timeout": 5},
        ),
        (
            {"conn_type": "mariadb", "host": "db", "extra": {"ssl_ca": "/ca.pem", "ssl_verify_identity": "false"}},
            "mysql+pymysql://db",
            {"ssl_ca": "/ca.pem", "ssl_verify_identity": False},
        ),
        ({"conn_type": "generic", "extra": {"sqlalchemy_url": "mssql+pyodbc://x"}}, "mssql+pyodbc://x", {}),
    ],
)
def test_a_connection_becomes_url_and_arguments(given: dict[str, Any], url: str, arguments: dict[str, Any]) -> None:
    assert legacy_source(connection(**given)) == (url, arguments)


def test_a_connection_given_as_uri_becomes_its_url() -> None:
    for uri, url in (
        ("sqlite:////data/legacy.db", "sqlite:////data/legacy.db"),
        ("postgres://u:p@db:5432/emr", "postgresql+psycopg://u:p@db:5432/emr"),
        ("mysql://u:p@db:3306/emr", "mysql+pymysql://u:p@db:3306/emr"),
    ):
        assert legacy_source(Connection.from_uri(uri, "legacy"))[0] == url


@pytest.mark.parametrize(
    ("kind", "extra", "said"),
    [
        ("postgres", {"sslmod": "require"}, "extra sslmod,"),
        ("postgres", {"cursor": "dictcursor"}, "extra cursor,"),
        ("postgres", {"dbname": "other"}, "extra dbname,"),
        ("postgres", {"sqlalchemy_query": "x"}, "'sqlalchemy_query' must be of type dict"),
        ("mysql", {"ssl_mode": "REQUIRED"}, "extra ssl_mode that cannot be passed on: is not known"),
        ("mysql", {"ssl": {"mode": "REQUIRED"}}, r"extra ssl\.mode that cannot be passed on: is not known"),
        ("mysql", {"ssl": {}}, "an empty ssl asks for no TLS"),
        ("mysql", {"ssl": "yes"}, "extra ssl that"),
        ("mysql", {"ssl": {"ca": "/a"}, "ssl_ca": "/b"}, "exclude each other"),
        ("mysql", {"charset": "latin1"}, "extra charset that"),
        ("mysql", {"connect_timeout": "soon"}, "extra connect_timeout that"),
        ("mariadb", {"cursor": "sscursor"}, "extra cursor that"),
        ("sqlite", {"detect_types": 1}, "extra detect_types that"),
        ("generic", {"sqlalchemy_url": "sqlite://", "timeout": 5}, "extra timeout,"),
        ("ftp", {}, "type ftp, which is not known"),
    ],
)
def test_what_cannot_be_passed_on_is_refused_by_name(kind: str, extra: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        legacy_source(connection(conn_type=kind, host="db", extra=extra))


def test_an_error_does_not_quote_a_value() -> None:
    with pytest.raises(SettingsError) as found:
        legacy_source(connection(conn_type="mysql", host="db", extra={"ssl": {"password": 7}, "connect_timeout": "s3"}))
    assert "7" not in str(found.value) and "s3" not in str(found.value)


@pytest.mark.parametrize(
    ("engine", "kind", "extra"),
    [("postgresql", "postgres", {"sslmode": "require"}), ("mariadb", "mysql", {"ssl": {"check_hostname": False}})],
)
def test_tls_that_is_asked_for_reaches_a_server_that_has_none(engine: str, kind: str, extra: dict[str, Any]) -> None:
    """Without the extra the same server answers; an extra that got lost would give a plain connection."""
    try:
        with getattr(servers, engine)() as server:
            url = sa.make_url(server.url)
            fields = {"conn_type": kind, "login": url.username, "password": url.password, "host": url.host}
            given = {**fields, "port": url.port, "schema": url.database}
            plain = connect_engine(*legacy_source(connection(**given, extra=url.query)))
            with snapshot(plain) as found:
                assert found.exec_driver_sql("SELECT 1").scalar() == 1
            plain.dispose()
            secured = connect_engine(*legacy_source(connection(**given, extra={**url.query, **extra})))
            with (
                warnings.catch_warnings(action="ignore"),
                pytest.raises(SettingsError, match="offers no TLS"),
                snapshot(secured),
            ):
                pass
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))
