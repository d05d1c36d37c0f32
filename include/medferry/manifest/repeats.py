"""Slices that repeat: the rows of a proven run under the same mapping give the same ledger and the same targets."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from medferry.manifest.runs import RunRow, SliceRow, get_slice
from medferry.manifest.source_units import PENDING
from medferry.manifest.tables import finding, outcome, run, slice_, source_unit, target

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
    """The same slice of the newest proven run of this migration in its present version, or None.

    Only when every row's end was settled by its mapping or by a write: then the same rows end the same way again.
    """
    statement = (
        sa.select(slice_)
        .join(run, run.c.id == slice_.c.run_id)
        .where(
            run.c.migration == now.migration,
            run.c.fingerprint == now.fingerprint,
            run.c.status == "succeeded",
            slice_.c.entity == mine.entity,
            slice_.c.stage == "loaded",
            slice_.c.digest != "",
            *(_same(slice_.c[name], getattr(mine, name)) for name in ("units", "low", "high")),
        )
        .order_by(run.c.started_at.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    found = SliceRow(**row._mapping) if row else None
    return found if found is not None and not _has_open_ends(connection, found) else None


def _same(column: sa.Column[Any], value: Any) -> sa.ColumnElement[bool]:
    """A JSON column against a value, as text: PostgreSQL compares no JSON."""
    return sa.cast(column, sa.Text) == json.dumps(value)


def _has_open_ends(connection: sa.Connection, earlier: SliceRow) -> bool:
    mine = sa.and_(source_unit.c.run_id == earlier.run_id, source_unit.c.slice_id == earlier.id)
    statement = sa.select(source_unit.c.key).where(mine, source_unit.c.reason.in_(LOADED_REASONS)).limit(1)
    return connection.execute(statement).first() is not None


def copy_ledger(connection: sa.Connection, now: RunRow, mine: SliceRow, earlier: SliceRow) -> None:
    """The earlier slice's ledger lines as this run's; what was successful waits for the load to confirm it."""
    of_slice = sa.and_(source_unit.c.run_id == earlier.run_id, source_unit.c.slice_id == earlier.id)
    waits = sa.case((source_unit.c.disposition == "successful", PENDING), else_=source_unit.c.disposition)
    given: dict[str, sa.ColumnElement[str]] = {
        "run_id": sa.literal(now.id),
        "slice_id": sa.literal(mine.id),
        "disposition": waits,
    }
    _copy(connection, source_unit, given, of_slice)
    keys = sa.select(source_unit.c.key).where(of_slice)
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
    """Take over the earlier slice's outcomes as "unchanged"; returns the number of source units that are successful."""
    given: dict[str, sa.ColumnElement[str]] = {
        "run_id": sa.literal(now.id),
        "slice_id": sa.literal(mine.id),
        "action": sa.literal("unchanged"),
    }
    _copy(connection, outcome, given, sa.and_(outcome.c.run_id == earlier.run_id, outcome.c.slice_id == earlier.id))
    waiting = sa.and_(
        source_unit.c.run_id == now.id, source_unit.c.slice_id == mine.id, source_unit.c.disposition == PENDING
    )
    return connection.execute(sa.update(source_unit).where(waiting).values(disposition="successful")).rowcount


def start_anew(connection: sa.Connection, run_id: str, slice_id: str) -> None:
    """Medplum is not as the earlier run left it: let the slice be extracted and transformed after all."""
    mine = sa.and_(slice_.c.run_id == run_id, slice_.c.id == slice_id)
    connection.execute(sa.update(slice_).where(mine).values(stage="planned", repeats=""))


def _copy(
    connection: sa.Connection, table: sa.Table, given: dict[str, sa.ColumnElement[str]], where: sa.ColumnElement[bool]
) -> None:
    """Insert the rows `where` again with some columns `given`."""
    values = [given.get(column.name, column) for column in table.columns]
    names = [column.name for column in table.columns]
    connection.execute(sa.insert(table).from_select(names, sa.select(*values).where(where)))
