"""What people decided about conflicts: of each path which side wins, in the one table of decisions.

A decision is about a conflict's path (subject ``conflict/<id>/<path>``), and holds for the conflict's versions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.fhir.sides import Side
from medferry.manifest import decisions
from medferry.manifest.conflicts import LIVE, Conflict, ConflictState, find_conflict, set_state, supersede
from medferry.manifest.decisions import Decision, RecordedDecision
from medferry.manifest.hashes import is_stored, protection_of, stored
from medferry.manifest.tables import run, unit_state
from medferry.manifest.tables_of_conflicts import conflict as table
from medferry.mapping.outcomes import Reason


class ConflictClosed(MedferryError):
    """A conflict can be decided no more: it was applied, or a side has moved since."""


class UnknownPath(MedferryError):
    """A conflict has no such path."""


def decide(
    connection: sa.Connection, conflict: Conflict, paths: Iterable[str], side: Side, person: str, reason: str
) -> ConflictState:
    """Decide of some paths (none: all) which side wins, whatever was decided before; returns the state then.

    Raises ConflictClosed, UnknownPath.
    """
    present = find_conflict(connection, conflict.migration, conflict.id)
    if present is None or present.state not in LIVE:
        raise _closed(conflict.id, present)
    chosen = tuple(paths) or present.paths
    if unknown := sorted(set(chosen) - set(present.paths)):
        raise UnknownPath(
            f"Conflict {conflict.id} is not about {', '.join(unknown)}.", f"Its paths: {', '.join(present.paths)}."
        )
    digest = stored(present.digest, protection_of(connection.dialect))  # it tells of contents, as hashes of them do
    for path in chosen:
        decisions.record(connection, _subject(present.id, path), digest, Decision(side, person, reason))
    all_decided = sides_of(connection, [present])[present.id].keys() == set(present.paths)
    state = ConflictState.DECIDED if all_decided else ConflictState.OPEN
    if not set_state(connection, [present.id], state):  # a cycle was quicker
        raise _closed(conflict.id, find_conflict(connection, conflict.migration, conflict.id))
    return state


def _closed(number: int, present: Conflict | None) -> ConflictClosed:
    return ConflictClosed(
        f"Conflict {number} is {present.state if present else 'not there'}: nothing is left to decide.",
        "Where a side has moved there is a new one (`medferry conflicts list`); else correct the field by hand.",
    )


def sides_of(connection: sa.Connection, conflicts: Collection[Conflict]) -> dict[int, dict[str, Side]]:
    """Of each conflict: path → the side that wins there, as far as it is decided."""
    return {
        number: {path: Side(one.decision.verdict) for path, one in of_paths.items()}
        for number, of_paths in decided_paths(connection, conflicts).items()
    }


def decided_paths(connection: sa.Connection, conflicts: Collection[Conflict]) -> dict[int, dict[str, RecordedDecision]]:
    """Of each conflict: path → its newest decision, with person, reason and time."""
    subjects = {_subject(one.id, path): (one, path) for one in conflicts for path in one.paths}
    found: dict[int, dict[str, RecordedDecision]] = {one.id: {} for one in conflicts}
    for subject, made in decisions.newest(connection, subjects).items():
        one, path = subjects[subject]
        if is_stored(made.digest, one.digest, protection_of(connection.dialect)):
            found[one.id][path] = made
    return found


def undone_records(
    connection: sa.Connection, migration: str, units: Sequence[str], before: str
) -> dict[str, dict[str, str]]:
    """Entity → source key → business unit of the records of which a conflict is decided, and not applied.

    Left out is what a run that began after the decision has tried, since the time `before`: something else is in its
    way.
    """
    same = sa.and_(
        unit_state.c.migration == table.c.migration,
        unit_state.c.entity == table.c.entity,
        unit_state.c.key == table.c.key,
    )
    decided = (table.c.migration == migration, table.c.state == ConflictState.DECIDED)
    tried = sa.and_(run.c.started_at > table.c.changed_at, unit_state.c.decided_at > before)
    statement = (
        sa.select(table.c.entity, table.c.key, table.c.unit)
        .outerjoin(unit_state, same)
        .outerjoin(run, run.c.id == unit_state.c.run_id)
        .where(*decided, table.c.unit.in_(list(units)), sa.func.coalesce(tried, sa.false()).is_(sa.false()))
    )
    found: dict[str, dict[str, str]] = {}
    for entity, key, unit in connection.execute(statement):
        found.setdefault(entity, {})[key] = unit
    return found


def supersede_gone(connection: sa.Connection, migration: str) -> None:
    """Nothing is left to decide where the row is gone: what becomes of its resource says the plan's `leftovers`."""
    gone = sa.exists().where(
        unit_state.c.migration == table.c.migration,
        unit_state.c.entity == table.c.entity,
        unit_state.c.key == table.c.key,
        unit_state.c.reason == Reason.SOURCE_ROW_GONE,
    )
    live = (table.c.migration == migration, table.c.state.in_(LIVE))
    supersede(connection, list(connection.scalars(sa.select(table.c.id).where(*live, gone))))


def _subject(conflict_id: int, path: str) -> str:
    return f"conflict/{conflict_id}/{path}"
