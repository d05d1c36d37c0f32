"""The crosswalk (source identifier → Medplum id and version) and what each run did to each target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import sqlalchemy as sa

from medferry.manifest.bulk import among, append, upsert
from medferry.manifest.database import now
from medferry.manifest.tables import attempt, outcome, target

Name = tuple[str, str]
"""(identifier system, identifier value)."""


@dataclass(frozen=True, slots=True)
class CrosswalkEntry:
    """A target that a run has written or confirmed before."""

    medplum_id: str
    version_id: str
    content_hash: str
    resource_type: str


@dataclass(frozen=True, slots=True)
class ConfirmedWrite:
    """A target whose write was confirmed by read-back. `action` is created, updated or unchanged."""

    system: str
    value: str
    entity: str
    resource_type: str
    medplum_id: str
    version_id: str
    content_hash: str
    action: str


_line = attrgetter(*ConfirmedWrite.__slots__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One entry sent to Medplum. `status` is its own HTTP status, 0 when no answer came."""

    system: str
    value: str
    action: str
    status: int
    reason: str = ""


def find_targets(connection: sa.Connection, migration: str, names: Iterable[Name]) -> dict[Name, CrosswalkEntry]:
    """Which of `names` the crosswalk knows."""
    by_system: dict[str, list[str]] = {}
    for system, value in names:
        by_system.setdefault(system, []).append(value)
    found: dict[Name, CrosswalkEntry] = {}
    columns = (target.c.value, target.c.medplum_id, target.c.version_id, target.c.content_hash, target.c.resource_type)
    for system, values in by_system.items():
        statement = sa.select(*columns).where(
            target.c.migration == migration, target.c.system == system, among(connection, target.c.value, values)
        )
        for value, *rest in connection.execute(statement):
            found[system, value] = CrosswalkEntry(*rest)
    return found


def knows_system(connection: sa.Connection, migration: str, system: str) -> bool:
    """Whether any target of an identifier system is known."""
    mine = sa.and_(target.c.migration == migration, target.c.system == system)
    return connection.execute(sa.select(target.c.value).where(mine).limit(1)).first() is not None


def record_confirmed(
    connection: sa.Connection, migration: str, run_id: str, slice_id: str, proven: Sequence[ConfirmedWrite]
) -> None:
    """Write confirmed targets to the crosswalk and to the run's outcomes.

    A target that this run created stays "created" when a redone slice finds it unchanged.
    """
    upsert(
        connection,
        target,
        ("migration", "run_id", *ConfirmedWrite.__slots__[:-1]),
        [(migration, run_id, *_line(p)[:-1]) for p in proven],
    )
    columns = ("run_id", "slice_id", "system", "value", "entity", "action")
    for keep_first, actions in ((False, {"created", "updated"}), (True, {"unchanged"})):
        lines = [(run_id, slice_id, p.system, p.value, p.entity, p.action) for p in proven if p.action in actions]
        upsert(connection, outcome, columns, lines, update=() if keep_first else None)


def record_attempts(connection: sa.Connection, run_id: str, slice_id: str, attempts: Sequence[Attempt]) -> None:
    """Append what was sent and answered."""
    at = now()
    rows = [(run_id, slice_id, at, a.system, a.value, a.action, a.status, a.reason) for a in attempts]
    append(connection, attempt, ("run_id", "slice_id", "at", *Attempt.__slots__), rows)
