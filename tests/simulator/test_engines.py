"""The simulations on real servers: SQLite, PostgreSQL and MariaDB with the embedded Medplum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from demo_clinics import database as servers
from embedded_medplum.server import EmbeddedMedplum
from tests.simulator.test_simulator import LONG, run

SEEDS = 200 if LONG else 2


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def legacy(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a legacy database; empty for one in SQLite."""
    if request.param == "sqlite":
        yield ""
        return
    with ExitStack() as stack:
        try:
            server = (servers.embedded if request.param == "postgresql" else servers.mariadb)()
            yield stack.enter_context(server).url
        except servers.BinariesMissing as missing:
            pytest.skip(str(missing))


def test_whatever_happens_the_end_is_right(legacy: str) -> None:
    with EmbeddedMedplum(quota=10**9, token_limit=10**9, expires_in=10**6) as medplum:
        address = (medplum.base_url, medplum.client_id, medplum.client_secret)
        run("engines", 0, SEEDS, *address, *([legacy] if legacy else []))
