"""Leases: a run owns its units and entities while it works, and another run over the same scope is refused.

Scopes are "<unit>/<entity>". A run's own tasks renew its leases; another run is refused and told the holder. A
lease that is not renewed runs out, so that a killed run blocks nobody for longer than `TTL`. All times are by the
manifest database's clock: a host whose clock is ahead takes nothing from a run that is at work.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import sqlalchemy as sa

from medferry.errors import LeaseHeld, LeaseLost
from medferry.manifest.bulk import upsert
from medferry.manifest.clock import clock, read_clock
from medferry.manifest.panics import check_no_panic
from medferry.manifest.tables import lease

TTL = timedelta(minutes=15)
_RENEW_AFTER = timedelta(minutes=1)


def acquire(
    connection: sa.Connection, migration: str, run_id: str, scopes: Iterable[str], take_over: bool = False
) -> None:
    """Make `run_id` the holder of all `scopes` (or renew it), in one transaction of the caller.

    Raises LeaseHeld naming the holder when another run's lease on any of them has not run out, unless `take_over`;
    Panicked while all writing is held, whoever asks.
    """
    check_no_panic(connection, migration)
    wanted = set(scopes)
    # On PostgreSQL two acquirers must not interleave; SQLite's BEGIN IMMEDIATE already queues them.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE lease IN SHARE ROW EXCLUSIVE MODE"))
    if not take_over:
        refuse_held(connection, migration, run_id, wanted)
    columns, until = ("migration", "scope", "run_id", "expires_at"), _expiry(connection)
    upsert(connection, lease, columns, [(migration, scope, run_id, until) for scope in sorted(wanted)])


def refuse_held(connection: sa.Connection, migration: str, run_id: str, scopes: Iterable[str]) -> None:
    """Raises LeaseHeld naming the holder when another run's lease on any of `scopes` has not run out."""
    wanted = set(scopes)
    statement = sa.select(lease.c.scope, lease.c.run_id, lease.c.expires_at).where(
        lease.c.migration == migration, lease.c.run_id != run_id, lease.c.expires_at > clock(connection)
    )
    others = [row for row in connection.execute(statement.order_by(lease.c.scope)) if row.scope in wanted]
    if others:
        first = others[0]
        held = LeaseHeld(
            f"Run {first.run_id} holds {first.scope} until {first.expires_at} ({len(others)} scopes in all).",
            "Wait until it has finished (option wait_minutes); if it is dead, wait until then or start with take_over.",
        )
        held.holder = first.run_id
        raise held


def check(connection: sa.Connection, migration: str, run_id: str, scopes: Iterable[str]) -> None:
    """Hold the leases until the end of the transaction that is about to write, and renew them when they have aged.

    Raises LeaseLost when one was taken over.
    """
    wanted = set(scopes)
    mine = sa.and_(lease.c.migration == migration, lease.c.run_id == run_id)
    young = sa.func.min(lease.c.expires_at) >= clock(connection, (TTL - _RENEW_AFTER).total_seconds())
    aged = not connection.scalar(sa.select(young).where(mine))
    if aged and connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE lease IN ROW EXCLUSIVE MODE"))  # before any row, as `acquire` does it
    # FOR SHARE keeps another run from taking over before this transaction ends; SQLite has one writer anyway. Who is
    # to renew takes the rows for itself at once: two sharers who both wish to write would wait for each other.
    rows = connection.execute(
        sa.select(lease.c.scope).where(mine).order_by(lease.c.scope).with_for_update(read=not aged)
    )
    held = set(rows.scalars())
    if lost := wanted - held:
        raise LeaseLost(
            f"Run {run_id} no longer owns {len(lost)} of its {len(wanted)} scopes.",
            "Another run took over; look for it with `medferry runs`. Nothing of this step was recorded.",
        )
    if aged:
        connection.execute(sa.update(lease).where(mine).values(expires_at=clock(connection, TTL.total_seconds())))


def alive(connection: sa.Connection, run_id: str) -> bool:
    """True while a run holds a lease that has not run out: a worker of it may be at work."""
    statement = (
        sa.select(lease.c.scope).where(lease.c.run_id == run_id, lease.c.expires_at > clock(connection)).limit(1)
    )
    return connection.execute(statement).first() is not None


def release(connection: sa.Connection, run_id: str) -> None:
    """Give back everything that a run holds."""
    connection.execute(sa.delete(lease).where(lease.c.run_id == run_id))


def _expiry(connection: sa.Connection, after: timedelta | None = None) -> str:
    return read_clock(connection, (TTL if after is None else after).total_seconds())
