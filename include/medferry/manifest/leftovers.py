"""Leftovers: what Medplum may still hold though the present plan, or the newest run, no longer makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest.paging import pages
from medferry.manifest.replaced import former_target
from medferry.manifest.tables import outcome, target, unit_state
from medferry.mapping.outcomes import Disposition

Slot = tuple[str, str]
"""(identifier system, resource type) of what a mapping produces."""


class LeftoverKind(StrEnum):
    """Why nothing makes a resource any more."""

    REPLACED = "another resource took its place"
    NO_SLOT = "the plan has no such entity, slot, type or base"
    NO_UNIT = "the plan has no such unit"
    NOT_MADE = "its row does not make it any more"
    REJECTED = "its row is rejected now"
    QUARANTINED = "its row is quarantined now"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A resource that the crosswalk knows, or knew. `unit` is empty where no record of its key is known."""

    entity: str
    key: str
    system: str
    resource_type: str
    medplum_id: str
    unit: str
    kind: LeftoverKind

    @property
    def place(self) -> str:
        return f"{self.resource_type}/{self.medplum_id}"


def leftovers(
    manifest: sa.Engine, migration: str, slots: Sequence[Slot], units: Sequence[str]
) -> Iterator[list[Leftover]]:
    """By 1,000, in key order. `slots` and `units` are those of the present plan.

    What belongs to skipped rows is left to the accounting, which tells of it with what is gone from the source.
    """
    record = _record(target)
    made = sa.and_(
        outcome.c.run_id == unit_state.c.run_id, outcome.c.system == target.c.system, outcome.c.value == target.c.value
    )
    of_plan = sa.or_(*(sa.and_(target.c.system == system, target.c.resource_type == kind) for system, kind in slots))
    not_made = sa.and_(
        unit_state.c.disposition == Disposition.SUCCESSFUL,
        outcome.c.run_id.is_(None),
        target.c.run_id != unit_state.c.run_id,
    )
    kind = sa.case(
        (~of_plan, LeftoverKind.NO_SLOT.value),
        (unit_state.c.unit.not_in(list(units)), LeftoverKind.NO_UNIT.value),
        (unit_state.c.disposition == Disposition.REJECTED, LeftoverKind.REJECTED.value),
        (unit_state.c.disposition == Disposition.QUARANTINED, LeftoverKind.QUARANTINED.value),
        (not_made, LeftoverKind.NOT_MADE.value),
    )
    joined = target.outerjoin(unit_state, record).outerjoin(outcome, made)
    statement = _columns(target, kind).select_from(joined).where(target.c.migration == migration, kind.is_not(None))
    for page in pages(manifest, statement, [target.c.system, target.c.value]):
        yield [_leftover(row._mapping) for row in page]
    former = sa.literal(LeftoverKind.REPLACED.value)
    replaced = _columns(former_target, former).select_from(former_target.outerjoin(unit_state, _record(former_target)))
    replaced = replaced.where(former_target.c.migration == migration)
    for page in pages(manifest, replaced, [former_target.c.resource_type, former_target.c.medplum_id]):
        yield [_leftover(row._mapping) for row in page]


def known_types(connection: sa.Connection, migration: str) -> dict[str, int]:
    """Resource type → how many resources the crosswalk has of it; 0 for one of which all were replaced."""
    counted = sa.select(target.c.resource_type, sa.func.count()).where(target.c.migration == migration)
    found: dict[str, int] = dict(connection.execute(counted.group_by(target.c.resource_type)).all())
    former = sa.select(former_target.c.resource_type).where(former_target.c.migration == migration).distinct()
    return dict.fromkeys(connection.scalars(former), 0) | found


def _record(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(
        unit_state.c.migration == table.c.migration,
        unit_state.c.entity == table.c.entity,
        unit_state.c.key == table.c.value,
    )


def _columns(table: sa.Table, kind: sa.ColumnElement[str]) -> sa.Select[tuple[str, ...]]:
    names = ("entity", "value", "system", "resource_type", "medplum_id")
    return sa.select(*(table.c[name] for name in names), unit_state.c.unit, kind.label("kind"))


def _leftover(row: sa.RowMapping) -> Leftover:
    return Leftover(
        row["entity"],
        row["value"],
        row["system"],
        row["resource_type"],
        row["medplum_id"],
        row["unit"] or "",
        LeftoverKind(row["kind"]),
    )
