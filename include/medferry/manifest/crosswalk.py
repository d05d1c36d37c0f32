"""The crosswalk (source identifier → Medplum id and version) and what each run did to each target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa

from medferry.manifest.database import now, upsert
from medferry.manifest.tables import attempt, outcome, target

Name = tuple[str, str]
"""(identifier system, identifier value)."""

_AT_ONCE = 400  # bound values a statement; SQLite's limit was 999 for long


@dataclass(frozen=True, slots=True)
class Known:
    """A target that a run has written or confirmed before."""

    medplum_id: str
    version_id: str
    content_hash: str
    resource_type: str


@dataclass(frozen=True, slots=True)
class Proven:
    """A target whose write was confirmed by read-back. `action` is created, updated or unchanged."""

    system: str
    value: str
    entity: str
    resource_type: str
    medplum_id: str
    version_id: str
    content_hash: str
    action: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One entry sent to Medplum. `status` is its own HTTP status, 0 when no answer came."""

    system: str
    value: str
    action: str
    status: int
    reason: str = ""


def find_targets(connection: sa.Connection, migration: str, names: Iterable[Name]) -> dict[Name, Known]:
    """Which of `names` the crosswalk knows."""
    by_system: dict[str, list[str]] = {}
    for system, value in set(names):
        by_system.setdefault(system, []).append(value)
    found: dict[Name, Known] = {}
    columns = (target.c.value, target.c.medplum_id, target.c.version_id, target.c.content_hash, target.c.resource_type)
    for system, values in by_system.items():
        pending = iter(values)
        while some := list(islice(pending, _AT_ONCE)):
            statement = sa.select(*columns).where(
                target.c.migration == migration, target.c.system == system, target.c.value.in_(some)
            )
            for value, *rest in connection.execute(statement):
                found[system, value] = Known(*rest)
    return found


def record_proven(
    connection: sa.Connection, migration: str, run_id: str, slice_id: str, proven: Sequence[Proven]
) -> None:
    """Write confirmed targets to the crosswalk and to the run's outcomes.

    A target that this run created stays "created" when a redone slice finds it unchanged.
    """
    columns = ("system", "value", "entity", "resource_type", "medplum_id", "version_id", "content_hash")
    rows = [{"migration": migration, "run_id": run_id, **{name: getattr(p, name) for name in columns}} for p in proven]
    upsert(connection, target, rows)
    for keep_first, actions in ((False, {"created", "updated"}), (True, {"unchanged"})):
        lines = [
            {
                "run_id": run_id,
                "system": p.system,
                "value": p.value,
                "entity": p.entity,
                "slice_id": slice_id,
                "action": p.action,
            }
            for p in proven
            if p.action in actions
        ]
        upsert(connection, outcome, lines, update=() if keep_first else None)


def record_attempts(connection: sa.Connection, run_id: str, slice_id: str, attempts: Sequence[Attempt]) -> None:
    """Append what was sent and answered."""
    at = now()
    rows = [
        {"run_id": run_id, "slice_id": slice_id, "at": at, **{n: getattr(a, n) for n in Attempt.__slots__}}
        for a in attempts
    ]
    if rows:
        connection.execute(sa.insert(attempt), rows)
