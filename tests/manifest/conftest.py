"""The manifest on both of its engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from demo_clinics import database as servers
from medferry.cli.main import app
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.tables import metadata


@pytest.fixture(scope="package")
def postgresql() -> Iterator[str]:
    with servers.embedded() as server:
        yield server.url


LOGINS = {"worker": "medferry_work", "decider": "medferry_decide", "reader": "medferry_read"}


@pytest.fixture(scope="package")
def granting(postgresql: str) -> str:
    """A manifest whose owner has run what `manifest grants` prints, twice; with a login for each role. It is copied."""
    url = servers.another(postgresql, "granting")
    create_manifest(url)
    open_manifest(url).dispose()
    printed = CliRunner().invoke(app, ["manifest", "grants"])
    assert printed.exit_code == 0
    with psycopg.connect(sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)) as owner:
        for _ in range(2):
            owner.execute(printed.output.encode())
        for login, role in LOGINS.items():
            owner.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'secret' IN ROLE {role}".encode())
    return postgresql


def copied(server: str, name: str) -> str:
    """The URL of a copy of the manifest with roles, for its owner; there may have been one of that name."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE granting")
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


def url_as(login: str, url: str) -> str:
    return sa.make_url(url).set(username=login, password="secret").render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A manifest with nothing in it."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/manifest.db" if sqlite else request.getfixturevalue("postgresql")
    create_manifest(url)
    engine = open_manifest(url)
    yield engine
    if sqlite:
        return
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
