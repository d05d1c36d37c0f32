"""The runs that wait until others give their leases back: each has a place, a lease of a kind of its own.

So a place ends by itself when whoever stood there has died, and says by its scope whether an operator wants it to end.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest.bulk import upsert
from medferry.manifest.clock import clock, read_clock
from medferry.manifest.leases import TTL
from medferry.manifest.tables import lease


class Place(StrEnum):
    """What a waiting run's place says. No scope of a unit and an entity has a colon in front of its slash."""

    WAITS = "waits:"
    ENDED = "ended:"
    """By an operator: the run is told when it looks next."""


def _scope(place: Place, run_id: str) -> str:
    return f"{place}{hashlib.sha256(run_id.encode()).hexdigest()[:40]}"


def stand(connection: sa.Connection, migration: str, run_id: str) -> None:
    """Take a place, or keep it; places of the dead go."""
    kinds = sa.or_(*(lease.c.scope.startswith(place) for place in Place))
    dead = (lease.c.migration == migration, kinds, lease.c.expires_at <= clock(connection))
    connection.execute(sa.delete(lease).where(*dead))
    row = (migration, _scope(Place.WAITS, run_id), run_id, read_clock(connection, TTL.total_seconds()))
    upsert(connection, lease, ("migration", "scope", "run_id", "expires_at"), [row])


def leave(connection: sa.Connection, migration: str, run_id: str) -> None:
    scopes = [_scope(place, run_id) for place in Place]
    connection.execute(sa.delete(lease).where(lease.c.migration == migration, lease.c.scope.in_(scopes)))


def end(connection: sa.Connection, migration: str, run_id: str) -> bool:
    """Let a waiting run know that it is to end; False when none of that id waits."""
    waits = (lease.c.migration == migration, lease.c.scope == _scope(Place.WAITS, run_id))
    return connection.execute(sa.update(lease).where(*waits).values(scope=_scope(Place.ENDED, run_id))).rowcount == 1


def is_ended(connection: sa.Connection, migration: str, run_id: str) -> bool:
    ended = (lease.c.migration == migration, lease.c.scope == _scope(Place.ENDED, run_id))
    return connection.execute(sa.select(lease.c.run_id).where(*ended)).first() is not None


def waiting_runs(connection: sa.Connection, migration: str) -> list[str]:
    """The ids of the runs that wait now."""
    alive = (lease.c.expires_at > clock(connection), lease.c.scope.startswith(Place.WAITS))
    statement = sa.select(lease.c.run_id).where(lease.c.migration == migration, *alive)
    return list(connection.scalars(statement.order_by(lease.c.run_id)))
