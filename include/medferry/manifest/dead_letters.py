"""Dead letters: the source records of a run that were rejected or quarantined, and what later runs made of them.

A run's ledger is never rewritten. What is true of a record now is in `unit_state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from medferry.manifest.paging import PAGE, pages
from medferry.manifest.runs import RunRow, get_run
from medferry.manifest.tables import attempt, run, source_record, unit_state
from medferry.mapping.outcomes import DEAD

_PAGE = PAGE

Systems = Mapping[str, Sequence[str]]
"""Entity → the identifier systems of its targets, as the migration names them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters of a run: empty means any. `still` leaves out what a later run has settled."""

    entities: Sequence[str] = ()
    reasons: Sequence[str] = ()
    dispositions: Sequence[str] = ()
    still: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One rejected or quarantined source record of a run.

    `attempts` counts the entries that the run sent for it; `now` is its disposition today, decided by `now_run`.
    """

    entity: str
    key: str
    unit: str
    disposition: str
    reason: str
    field: str
    place: str
    mapping_version: str
    attempts: int
    now: str
    now_run: str


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """How many dead letters a run has for one reason, and how many of them are settled by now."""

    entity: str
    disposition: str
    reason: str
    count: int
    settled: int


_is_dead = source_record.c.disposition.in_(sa.bindparam("dead", DEAD, expanding=True, literal_execute=True))
"""Literal in the statement: only so can the partial index on dead letters serve it."""


def _with_now(migration: str) -> sa.FromClause:
    """Source records, each beside what is true of it now (nothing when only dry runs saw it)."""
    same = sa.and_(
        unit_state.c.migration == migration,
        unit_state.c.entity == source_record.c.entity,
        unit_state.c.key == source_record.c.key,
    )
    return source_record.outerjoin(unit_state, same)


_SETTLED = sa.and_(unit_state.c.disposition.is_not(None), unit_state.c.disposition.not_in(DEAD))


def _chosen(run_id: str, choice: Choice) -> list[sa.ColumnElement[bool]]:
    wanted = (
        (source_record.c.entity, choice.entities),
        (source_record.c.reason, choice.reasons),
        (source_record.c.disposition, choice.dispositions),
    )
    terms = [column.in_(list(values)) for column, values in wanted if values]
    return [source_record.c.run_id == run_id, _is_dead, *terms, *([sa.not_(_SETTLED)] if choice.still else [])]


def dead_letter_groups(
    connection: sa.Connection, migration: str, run_id: str, choice: Choice = Choice()
) -> list[DeadLetterGroup]:
    """The run's dead letters counted by entity, disposition and reason, the largest groups first."""
    columns = (source_record.c.entity, source_record.c.disposition, source_record.c.reason)
    settled = sa.func.sum(sa.case((_SETTLED, 1), else_=0))
    statement = (
        sa.select(*columns, sa.func.count(), settled)
        .select_from(_with_now(migration))
        .where(*_chosen(run_id, choice))
        .group_by(*columns)
    )
    found = [DeadLetterGroup(*row) for row in connection.execute(statement)]
    return sorted(found, key=lambda group: (-group.count, group.entity, group.reason))


def newest_with_dead_letters(connection: sa.Connection, migration: str, choice: Choice = Choice()) -> str | None:
    """The newest of the runs that have decided what is rejected or quarantined now, if anything is."""
    wanted = (
        (unit_state.c.entity, choice.entities),
        (unit_state.c.reason, choice.reasons),
        (unit_state.c.disposition, choice.dispositions),
    )
    now = [unit_state.c.migration == migration, unit_state.c.disposition.in_(DEAD)]
    deciders = sa.select(unit_state.c.run_id).where(*now, *(c.in_(list(values)) for c, values in wanted if values))
    newest = sa.select(run.c.id).where(run.c.id.in_(deciders)).order_by(run.c.started_at.desc(), run.c.id.desc())
    found: str | None = connection.scalar(newest.limit(1))
    return found


def dispositions_now(connection: sa.Connection, replay: RunRow, entity: str) -> dict[tuple[str, str], int]:
    """(unit, disposition now) → records of an entity in the whole run that began a chain of replays."""
    first = _first(connection, replay)
    now = sa.func.coalesce(unit_state.c.disposition, source_record.c.disposition)
    own = (source_record.c.run_id == first.id, source_record.c.entity == entity)
    lines = sa.select(source_record.c.unit, now, sa.func.count()).select_from(_with_now(first.migration)).where(*own)
    found = connection.execute(lines.group_by(source_record.c.unit, now))
    return {(unit, disposition): number for unit, disposition, number in found}


def _first(connection: sa.Connection, replay: RunRow) -> RunRow:
    found = replay
    while found.replays:
        found = get_run(connection, found.replays)
    return found


def dead_letters(
    manifest: sa.Engine, migration: str, systems: Systems, run_id: str, choice: Choice = Choice()
) -> Iterator[DeadLetter]:
    """The run's dead letters by entity and key, read page by page: no transaction is open while they are used."""
    with manifest.begin() as connection:
        groups = dead_letter_groups(connection, migration, run_id, choice)
    for entity in sorted({group.entity for group in groups}):
        statement = _statement(migration, systems.get(entity, ()), run_id, entity, choice)
        for page in pages(manifest, statement, (source_record.c.key,), _PAGE):
            yield from (DeadLetter(*tuple(row)) for row in page)


def _statement(migration: str, systems: Sequence[str], run_id: str, entity: str, choice: Choice) -> sa.Select[Any]:
    """The dead letters of one entity, in the order of ``DeadLetter``'s members."""
    sent = (
        sa.select(sa.func.count())
        .where(attempt.c.run_id == run_id, attempt.c.system.in_(list(systems)), attempt.c.value == source_record.c.key)
        .correlate(source_record)
        .scalar_subquery()
    )
    own = (name for name in DeadLetter.__slots__ if name not in ("attempts", "now", "now_run"))
    now = sa.func.coalesce(unit_state.c.disposition, source_record.c.disposition)
    columns = (*(source_record.c[name] for name in own), sent, now, sa.func.coalesce(unit_state.c.run_id, run_id))
    return (
        sa.select(*columns)
        .select_from(_with_now(migration))
        .where(*_chosen(run_id, choice), source_record.c.entity == entity)
    )
