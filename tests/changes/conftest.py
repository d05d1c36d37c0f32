"""Three engines, and on each the small clinic with its journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.source.changes.engines import install, journal_of
from medferry.source.changes.journal import Journal
from medferry.source.database import connect_engine
from tests.changes import clinic


def _engine(kind: str, factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    if kind == "sqlite":
        engine = connect_engine(f"sqlite:///{factory.mktemp('changes')}/x.db")
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
        yield engine
        return
    try:
        with (servers.embedded if kind == "postgresql" else servers.mariadb)() as server:
            engine = connect_engine(server.url)
            yield engine
            engine.dispose()
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="package", params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    yield from _engine(request.param, tmp_path_factory)


@pytest.fixture
def journal(engine: sa.Engine) -> Iterator[Journal]:
    """The clinic with its journal, freshly installed; nothing of it is there afterwards."""
    clinic.create(engine)
    journal = journal_of(engine, clinic.WATCHED)
    install(engine, journal)
    yield journal
    clinic.drop(engine)


@pytest.fixture
def write(engine: sa.Engine) -> Callable[..., None]:
    """Runs statements in one transaction, as the legacy application would."""

    def run(*statements: str) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    return run
