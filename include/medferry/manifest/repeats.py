"""Slices that repeat: the rows of a proven run under the same mapping give the same ledger and the same targets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from medferry.manifest.runs import RunRow, SliceRow, get_slice
from medferry.manifest.source_records import PENDING, forget_slice
from medferry.manifest.tables import finding, outcome, run, slice_, source_record, target

LOADED_REASONS = (
    "ambiguous-target",
    "server-rejected",
    "stored-differently",
    "target-changed",
    "target-deleted",
    "too-large",
    "unresolved-reference",
)
"""What the load decided, and might decide otherwise today. All other reasons follow from the row and its mapping."""

Place = tuple[str, str, str]
"""(resource type, id, version) of a target."""


def find_earlier(connection: sa.Connection, now: RunRow, mine: SliceRow) -> SliceRow | None:
    """The same slice of the run that has loaded these rows last, or None.

    Only when that run was proven with the present version of the migration (after any other, Medplum and the
    crosswalk may hold something else), and every row's end was settled by its mapping or by a write: then the same
    rows end the same way again.
    """
    last = _last_load(connection, now, mine)
    if last is None or last.status != "succeeded" or last.fingerprint != now.fingerprint:
        return None
    same = (_same(slice_.c[name], getattr(mine, name)) for name in ("units", "low", "high", "keys"))
    statement = sa.select(slice_).where(
        slice_.c.run_id == last.id,
        slice_.c.entity == mine.entity,
        slice_.c.stage == "loaded",
        slice_.c.digest != "",
        *same,
    )
    row = connection.execute(statement).one_or_none()
    found = SliceRow(**row._mapping) if row else None
    return found if found is not None and not _has_open_ends(connection, found) else None


def _last_load(connection: sa.Connection, now: RunRow, mine: SliceRow) -> sa.Row[Any, Any, Any] | None:
    """The newest other run that has begun to load the entity for any of the slice's units."""
    begun = sa.and_(slice_.c.run_id == run.c.id, slice_.c.entity == mine.entity, slice_.c.fence > 0)
    statement = (
        sa.select(run.c.id, run.c.status, run.c.fingerprint)
        .where(run.c.migration == now.migration, run.c.id != now.id, sa.exists().where(begun))
        .order_by(run.c.started_at.desc())
    )
    for row in connection.execute(statement):
        units = sa.select(sa.cast(slice_.c.units, sa.Text)).where(
            slice_.c.run_id == row.id, slice_.c.entity == mine.entity, slice_.c.fence > 0
        )
        if any(set(json.loads(listed)) & set(mine.units) for listed in connection.scalars(units.distinct())):
            return row
    return None


def _same(column: sa.Column[Any], value: Any) -> sa.ColumnElement[bool]:
    """A JSON column against a value, as text: PostgreSQL compares no JSON."""
    return sa.cast(column, sa.Text) == json.dumps(value)


def _has_open_ends(connection: sa.Connection, earlier: SliceRow) -> bool:
    mine = sa.and_(source_record.c.run_id == earlier.run_id, source_record.c.slice_id == earlier.id)
    statement = sa.select(source_record.c.key).where(mine, source_record.c.reason.in_(LOADED_REASONS)).limit(1)
    return connection.execute(statement).first() is not None


def copy_ledger(connection: sa.Connection, now: RunRow, mine: SliceRow, earlier: SliceRow) -> None:
    """The earlier slice's ledger lines as this run's; what was successful waits for the load to confirm it."""
    of_slice = sa.and_(source_record.c.run_id == earlier.run_id, source_record.c.slice_id == earlier.id)
    waits = sa.case((source_record.c.disposition == "successful", PENDING), else_=source_record.c.disposition)
    given: dict[str, sa.ColumnElement[str]] = {
        "run_id": sa.literal(now.id),
        "slice_id": sa.literal(mine.id),
        "disposition": waits,
    }
    _copy(connection, source_record, given, of_slice)
    keys = sa.select(source_record.c.key).where(of_slice)
    of_findings = sa.and_(
        finding.c.run_id == earlier.run_id, finding.c.entity == earlier.entity, finding.c.key.in_(keys)
    )
    _copy(connection, finding, {"run_id": sa.literal(now.id)}, of_findings)


def repeated(connection: sa.Connection, mine: SliceRow) -> SliceRow:
    """The slice that `mine` repeats."""
    run_id, _, slice_id = mine.repeats.rpartition("/")
    return get_slice(connection, run_id, slice_id)


def places_of(connection: sa.Connection, migration: str, earlier: SliceRow) -> list[Place]:
    """Where the crosswalk says that the earlier slice's targets are."""
    joined = outcome.join(target, sa.and_(target.c.system == outcome.c.system, target.c.value == outcome.c.value))
    statement = (
        sa.select(target.c.resource_type, target.c.medplum_id, target.c.version_id)
        .select_from(joined)
        .where(target.c.migration == migration, outcome.c.run_id == earlier.run_id, outcome.c.slice_id == earlier.id)
    )
    return [(kind, medplum_id, version) for kind, medplum_id, version in connection.execute(statement)]


def confirm(connection: sa.Connection, now: RunRow, mine: SliceRow, earlier: SliceRow) -> int:
    """Take over the earlier slice's outcomes as "unchanged"; returns the number of successful records."""
    given: dict[str, sa.ColumnElement[str]] = {
        "run_id": sa.literal(now.id),
        "slice_id": sa.literal(mine.id),
        "action": sa.literal("unchanged"),
    }
    _copy(connection, outcome, given, sa.and_(outcome.c.run_id == earlier.run_id, outcome.c.slice_id == earlier.id))
    waiting = sa.and_(
        source_record.c.run_id == now.id, source_record.c.slice_id == mine.id, source_record.c.disposition == PENDING
    )
    return connection.execute(sa.update(source_record).where(waiting).values(disposition="successful")).rowcount


def has_moved(connection: sa.Connection, now: RunRow, earlier: SliceRow, entities: Iterable[str]) -> bool:
    """Whether this run has created again, so under another id, what the earlier run had of some `entities`."""
    before = sa.alias(outcome)
    both = sa.and_(before.c.system == outcome.c.system, before.c.value == outcome.c.value)
    statement = (
        sa.select(outcome.c.value)
        .join(before, both)
        .where(
            outcome.c.run_id == now.id,
            outcome.c.entity.in_(list(entities)),
            outcome.c.action == "created",
            before.c.run_id == earlier.run_id,
        )
    )
    return connection.execute(statement.limit(1)).first() is not None


def start_anew(connection: sa.Connection, mine: SliceRow) -> None:
    """Medplum is not as the earlier run left it: let the slice be extracted and transformed after all."""
    forget_slice(connection, mine.run_id, mine.id, mine.entity)
    this = sa.and_(slice_.c.run_id == mine.run_id, slice_.c.id == mine.id)
    connection.execute(sa.update(slice_).where(this).values(stage="planned", repeats=""))


def _copy(
    connection: sa.Connection, table: sa.Table, given: dict[str, sa.ColumnElement[str]], where: sa.ColumnElement[bool]
) -> None:
    """Insert the rows `where` again with some columns `given`."""
    values = [given.get(column.name, column) for column in table.columns]
    names = [column.name for column in table.columns]
    connection.execute(sa.insert(table).from_select(names, sa.select(*values).where(where)))
