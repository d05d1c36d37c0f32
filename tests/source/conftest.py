"""The three engines, each started once for all tests here that ask for them by `url`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.source.database import connect_engine


@pytest.fixture(scope="package", params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("engines") / "x.db"
        file.touch()  # an empty database; a file that is not there is refused
        yield f"sqlite:///{file}"
        return
    start = {"postgresql": servers.embedded, "mariadb": servers.mariadb}[request.param]
    try:
        with start() as server:
            yield server.url
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def reader(url: str) -> Iterator[sa.Engine]:
    """The engine as Medferry opens it."""
    engine = connect_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def owner(url: str) -> Iterator[sa.Connection]:
    """A connection of the application's, which writes."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="package")
def engine(url: str) -> Iterator[sa.Engine]:
    """The same for the whole folder, for tests that make tables of their own."""
    engine = connect_engine(url)
    yield engine
    engine.dispose()
