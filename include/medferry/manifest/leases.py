"""Leases: a run owns its units and entities while it works, and another run over the same scope is refused.

Scopes are "<unit>/<entity>". A run's own tasks renew its leases; another run is refused and told the holder. A
lease that is not renewed runs out, so that a killed run blocks nobody for longer than `TTL`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from medferry.errors import LeaseHeld, LeaseLost
from medferry.manifest.database import now, upsert
from medferry.manifest.tables import lease

TTL = timedelta(minutes=15)


def acquire(
    connection: sa.Connection, migration: str, run_id: str, scopes: Iterable[str], take_over: bool = False
) -> None:
    """Make `run_id` the holder of all `scopes` (or renew it), in one transaction of the caller.

    Raises LeaseHeld naming the holder when another run's lease on any of them has not run out, unless `take_over`.
    """
    wanted = set(scopes)
    # On PostgreSQL two acquirers must not interleave; SQLite's BEGIN IMMEDIATE already queues them.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE lease IN SHARE ROW EXCLUSIVE MODE"))
    statement = sa.select(lease.c.scope, lease.c.run_id, lease.c.expires_at).where(
        lease.c.migration == migration, lease.c.run_id != run_id, lease.c.expires_at > now()
    )
    others = [row for row in connection.execute(statement.order_by(lease.c.scope)) if row.scope in wanted]
    if others and not take_over:
        first = others[0]
        raise LeaseHeld(
            f"Run {first.run_id} holds {first.scope} until {first.expires_at} ({len(others)} scopes in all).",
            "Wait until it has finished; if it is dead, wait until then or start with take_over.",
        )
    own = {"migration": migration, "run_id": run_id, "expires_at": _expiry()}
    upsert(connection, lease, [{**own, "scope": scope} for scope in sorted(wanted)])


def check(connection: sa.Connection, migration: str, run_id: str, scopes: Iterable[str]) -> None:
    """Renew the leases, inside the transaction that is about to write. Raises LeaseLost when one was taken over."""
    wanted = sorted(set(scopes))
    statement = (
        sa.update(lease)
        .where(lease.c.migration == migration, lease.c.run_id == run_id, lease.c.scope.in_(wanted))
        .values(expires_at=_expiry())
    )
    renewed = connection.execute(statement).rowcount
    if renewed != len(wanted):
        raise LeaseLost(
            f"Run {run_id} no longer owns {len(wanted) - renewed} of its {len(wanted)} scopes.",
            "Another run took over; look for it with `medferry runs`. Nothing of this step was recorded.",
        )


def alive(connection: sa.Connection, run_id: str) -> bool:
    """True while a run holds a lease that has not run out: a worker of it may be at work."""
    statement = sa.select(lease.c.scope).where(lease.c.run_id == run_id, lease.c.expires_at > now()).limit(1)
    return connection.execute(statement).first() is not None


def release(connection: sa.Connection, run_id: str) -> None:
    """Give back everything that a run holds."""
    connection.execute(sa.delete(lease).where(lease.c.run_id == run_id))


def _expiry() -> str:
    return (datetime.now(UTC) + TTL).isoformat(timespec="milliseconds").replace("+00:00", "Z")
