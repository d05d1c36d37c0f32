"""Dead letters: the source records of a run that were rejected or quarantined, and what later runs made of them.

A run's ledger is never rewritten. What is true of a unit now is the line of the newest real run that decided it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from medferry.manifest.accounting import AccountRow, accounts
from medferry.manifest.runs import RunRow, get_run
from medferry.manifest.source_records import PENDING
from medferry.manifest.tables import DEAD, attempt, run, source_record

_PAGE = 1_000

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


_now = source_record.alias("now")
_is_dead = source_record.c.disposition.in_(sa.bindparam("dead", DEAD, expanding=True, literal_execute=True))
"""Literal in the statement: only so can the partial index on dead letters serve it."""


def _newest_line(migration: str) -> sa.ScalarSelect[Any]:
    """The newest run that decided a source record; a dry run decides nothing."""
    later, its_run = source_record.alias("later"), run.alias("its_run")
    return (
        sa.select(later.c.run_id)
        .join(its_run, its_run.c.id == later.c.run_id)
        .where(
            later.c.entity == source_record.c.entity,
            later.c.key == source_record.c.key,
            later.c.disposition != PENDING,
            its_run.c.migration == migration,
            its_run.c.options["dry_run"].as_boolean().is_not(True),
        )
        .order_by(its_run.c.started_at.desc(), its_run.c.id.desc())
        .limit(1)
        .correlate(source_record)
        .scalar_subquery()
    )


def _with_now(migration: str) -> sa.FromClause:
    """Source records, each beside the line that is true of it now (none when only dry runs saw it)."""
    same = sa.and_(
        _now.c.run_id == _newest_line(migration),
        _now.c.entity == source_record.c.entity,
        _now.c.key == source_record.c.key,
    )
    return source_record.outerjoin(_now, same)


_SETTLED = sa.and_(_now.c.disposition.is_not(None), _now.c.disposition.not_in(DEAD))


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


def accounts_now(connection: sa.Connection, replay: RunRow) -> AccountRow:
    """The whole run that began a chain of replays in one line, its dead letters counted as they are now.

    Only eligible, rejected and quarantined are counted. Raises UnknownRun.
    """
    first = replay
    while first.replays:
        first = get_run(connection, first.replays)
    now = sa.func.coalesce(_now.c.disposition, source_record.c.disposition)
    lines = sa.select(now, sa.func.count()).select_from(_with_now(first.migration))
    counts: dict[str, int] = dict(connection.execute(lines.where(*_chosen(first.id, Choice())).group_by(now)).all())
    eligible = sum(row.eligible for row in accounts(connection, first.id))
    empty = AccountRow("all", "all", eligible, *(0,) * 8)
    return replace(empty, rejected=counts.get("rejected", 0), quarantined=counts.get("quarantined", 0))


def dead_letters(
    manifest: sa.Engine, migration: str, systems: Systems, run_id: str, choice: Choice = Choice()
) -> Iterator[DeadLetter]:
    """The run's dead letters by entity and key, read page by page: no transaction is open while they are used."""
    with manifest.begin() as connection:
        groups = dead_letter_groups(connection, migration, run_id, choice)
    for entity in sorted({group.entity for group in groups}):
        after: str | None = None
        while True:
            statement = _page_statement(migration, systems.get(entity, ()), run_id, entity, choice, after)
            with manifest.begin() as connection:
                page = [DeadLetter(*row) for row in connection.execute(statement)]
            yield from page
            if len(page) < _PAGE:
                break
            after = page[-1].key


def _page_statement(
    migration: str, systems: Sequence[str], run_id: str, entity: str, choice: Choice, after: str | None
) -> sa.Select[Any]:
    """The next dead letters of one entity after a key, in the order of ``DeadLetter``."""
    sent = (
        sa.select(sa.func.count())
        .where(attempt.c.run_id == run_id, attempt.c.system.in_(list(systems)), attempt.c.value == source_record.c.key)
        .correlate(source_record)
        .scalar_subquery()
    )
    own = (name for name in DeadLetter.__slots__ if name not in ("attempts", "now", "now_run"))
    now = sa.func.coalesce(_now.c.disposition, source_record.c.disposition)
    columns = (*(source_record.c[name] for name in own), sent, now, sa.func.coalesce(_now.c.run_id, run_id))
    statement = (
        sa.select(*columns)
        .select_from(_with_now(migration))
        .where(*_chosen(run_id, choice), source_record.c.entity == entity)
        .order_by(source_record.c.key)
        .limit(_PAGE)
    )
    return statement if after is None else statement.where(source_record.c.key > after)
