"""Leases that are renewed by several workers of a run at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from medferry.manifest import leases
from medferry.manifest.tables import lease

SCOPES = ["u/a", "u/b"]


def check(connection: sa.Connection) -> None:
    leases.check(connection, "m", "r", SCOPES)


def acquire(connection: sa.Connection) -> None:
    leases.acquire(connection, "m", "r", SCOPES)


@pytest.mark.parametrize(
    "both",
    [(check, check), (acquire, check), (check, acquire)],
    ids=lambda both: " and ".join(step.__name__ for step in both),
)
def test_who_renew_at_once_wait_in_turn(manifest: sa.Engine, both: tuple[Callable[[sa.Connection], None], ...]) -> None:
    """While a third worker, whose lease had not aged when it looked, is still recording."""
    with manifest.begin() as connection:
        acquire(connection)
        aged = leases._expiry(connection, leases.TTL - timedelta(minutes=2))
        connection.execute(sa.update(lease).values(expires_at=aged))
    ends: list[str] = []

    def work(renew: Callable[[sa.Connection], None]) -> None:
        try:
            with manifest.begin() as connection:
                renew(connection)
            ends.append("done")
        except Exception as error:  # noqa: BLE001
            ends.append(str(error))

    workers = [threading.Thread(target=work, args=(renew,)) for renew in both]
    with manifest.begin() as recording:
        recording.execute(sa.select(lease.c.scope).with_for_update(read=True)).all()
        for worker in workers:
            worker.start()
            time.sleep(0.2)
    for worker in workers:
        worker.join()
    assert ends == ["done", "done"]
    with manifest.begin() as connection:
        assert min(connection.scalars(sa.select(lease.c.expires_at))) > aged


def test_what_another_run_has_taken_over_is_lost(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        acquire(connection)
        leases.acquire(connection, "m", "other", ["u/b"], take_over=True)
    with manifest.begin() as connection, pytest.raises(leases.LeaseLost, match="no longer owns 1 of its 2 scopes"):
        check(connection)
