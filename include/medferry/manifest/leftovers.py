"""Leftovers: what Medplum may still hold though the present plan, or the newest run, no longer makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest.leftover_acts import was_removed
from medferry.manifest.paging import pages
from medferry.manifest.replaced import former_target
from medferry.manifest.source_records import GONE
from medferry.manifest.tables import outcome, target, unit_state
from medferry.mapping.outcomes import Disposition

Slot = tuple[str, str]
"""(identifier system, resource type) of what a mapping produces."""


class LeftoverKind(StrEnum):
    """Why nothing makes a resource any more."""

    REPLACED = "another resource took its place"
    REMOVED = "it was removed as a leftover, and is there again"
    NO_SLOT = "the plan has no such entity, slot, type or base"
    NO_UNIT = "the plan has no such unit"
    NOT_MADE = "its row does not make it any more"
    REJECTED = "its row is rejected now"
    QUARANTINED = "its row is quarantined now"
    SKIPPED = "its row is skipped now"
    GONE = "the source has no such row any more"


OF_ROWS = frozenset(
    {
        LeftoverKind.NOT_MADE,
        LeftoverKind.REJECTED,
        LeftoverKind.QUARANTINED,
        LeftoverKind.SKIPPED,
        LeftoverKind.GONE,
    }
)
"""Kinds that follow from what became of a row when it was last decided."""


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
    version_id: str
    content_hash: str

    @property
    def place(self) -> str:
        return f"{self.resource_type}/{self.medplum_id}"


def leftovers(
    manifest: sa.Engine, migration: str, slots: Sequence[Slot], units: Sequence[str], skipped: bool = False
) -> Iterator[list[Leftover]]:
    """By 1,000, in key order. `slots` and `units` are those of the present plan.

    What belongs to `skipped` rows a verification leaves to the accounting, which tells of it with what is gone from the
    source.
    """
    kind = _kind(slots, units, skipped)
    statement = _crosswalk(kind).where(target.c.migration == migration, kind.is_not(None))
    for page in pages(manifest, statement, [target.c.system, target.c.value]):
        yield [_leftover(row._mapping) for row in page]
    removed = was_removed(former_target.c.migration, former_target.c.resource_type, former_target.c.medplum_id)
    former = sa.case((removed, LeftoverKind.REMOVED.value), else_=LeftoverKind.REPLACED.value)
    replaced = _columns(former_target, former).select_from(former_target.outerjoin(unit_state, _record(former_target)))
    replaced = replaced.where(former_target.c.migration == migration)
    for page in pages(manifest, replaced, [former_target.c.resource_type, former_target.c.medplum_id]):
        yield [_leftover(row._mapping) for row in page]


def in_use(
    manifest: sa.Engine, migration: str, slots: Sequence[Slot], units: Sequence[str], entity: str
) -> Iterator[list[Leftover]]:
    """What is no leftover of an entity, told as what it would be if the source has no row of it any more."""
    kind = _kind(slots, units, skipped=True)
    gone = sa.literal(LeftoverKind.GONE.value)
    statement = _crosswalk(gone).where(target.c.migration == migration, target.c.entity == entity, kind.is_(None))
    for page in pages(manifest, statement, [target.c.system, target.c.value]):
        yield [_leftover(row._mapping) for row in page]


def _crosswalk(kind: sa.ColumnElement[str]) -> sa.Select[tuple[str, ...]]:
    return _columns(target, kind).select_from(target.outerjoin(unit_state, _record(target)).outerjoin(outcome, _made()))


def _made() -> sa.ColumnElement[bool]:
    return sa.and_(
        outcome.c.run_id == unit_state.c.run_id, outcome.c.system == target.c.system, outcome.c.value == target.c.value
    )


def _kind(slots: Sequence[Slot], units: Sequence[str], skipped: bool) -> sa.ColumnElement[str]:
    """Why nothing makes a line of the crosswalk any more; null where something does."""
    of_plan = sa.or_(*(sa.and_(target.c.system == system, target.c.resource_type == kind) for system, kind in slots))
    not_made = sa.and_(
        unit_state.c.disposition == Disposition.SUCCESSFUL,
        outcome.c.run_id.is_(None),
        target.c.run_id != unit_state.c.run_id,
    )
    return sa.case(
        (~of_plan, LeftoverKind.NO_SLOT.value),
        (unit_state.c.unit.not_in(list(units)), LeftoverKind.NO_UNIT.value),
        (unit_state.c.disposition == Disposition.REJECTED, LeftoverKind.REJECTED.value),
        (unit_state.c.disposition == Disposition.QUARANTINED, LeftoverKind.QUARANTINED.value),
        (not_made, LeftoverKind.NOT_MADE.value),
        *(_of_skipped() if skipped else ()),
    )


def _of_skipped() -> list[tuple[sa.ColumnElement[bool], str]]:
    skipped = unit_state.c.disposition == Disposition.SKIPPED
    return [
        (sa.and_(skipped, unit_state.c.reason == GONE), LeftoverKind.GONE.value),
        (skipped, LeftoverKind.SKIPPED.value),
    ]


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
    names = ("entity", "value", "system", "resource_type", "medplum_id", "version_id", "content_hash")
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
        row["version_id"],
        row["content_hash"],
    )
