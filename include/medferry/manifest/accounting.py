"""The accounting: what became of every eligible source record of a run, per unit and entity."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.crosswalk import Effect
from medferry.manifest.runs import SliceStage
from medferry.manifest.source_records import DISPOSITIONS
from medferry.manifest.tables import finding, outcome, slice_, source_record
from medferry.mapping.outcomes import Disposition


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One line of the reconciliation.

    Dispositions count source records; created, updated and unchanged count resources.
    """

    unit: str
    entity: str
    eligible: int
    successful: int
    rejected: int
    skipped: int
    quarantined: int
    pending: int
    created: int
    updated: int
    unchanged: int

    @property
    def balanced(self) -> bool:
        """True when every eligible source record has exactly one disposition and none is pending."""
        accounted = self.successful + self.rejected + self.skipped + self.quarantined
        return self.pending == 0 and self.eligible == accounted


def accounts(connection: sa.Connection, run_id: str) -> list[AccountRow]:
    """The reconciliation of a run, sorted by unit and entity."""
    dispositions = _count_dispositions(connection, run_id)
    actions = _count_actions(connection, run_id)
    rows = []
    for unit, entity in sorted(dispositions):
        by, did = dispositions[unit, entity], actions[unit, entity]
        rows.append(
            AccountRow(
                unit,
                entity,
                sum(by.values()),
                *(by[name] for name in (*DISPOSITIONS, Disposition.PENDING)),
                *(did[name] for name in Effect),
            )
        )
    return rows


def _count_dispositions(connection: sa.Connection, run_id: str) -> dict[tuple[str, str], dict[str, int]]:
    columns = (source_record.c.unit, source_record.c.entity, source_record.c.disposition)
    statement = sa.select(*columns, sa.func.count()).where(source_record.c.run_id == run_id).group_by(*columns)
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for unit, entity, disposition, number in connection.execute(statement):
        counts[unit, entity][disposition] = number
    return counts


def _count_actions(connection: sa.Connection, run_id: str) -> dict[tuple[str, str], dict[str, int]]:
    columns = (source_record.c.unit, source_record.c.entity, outcome.c.action)
    same = sa.and_(
        outcome.c.run_id == source_record.c.run_id,
        outcome.c.entity == source_record.c.entity,
        outcome.c.value == source_record.c.key,
    )
    statement = (
        sa.select(*columns, sa.func.count())
        .select_from(source_record.join(outcome, same))
        .where(source_record.c.run_id == run_id)
        .group_by(*columns)
    )
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for unit, entity, action, number in connection.execute(statement):
        counts[unit, entity][action] = number
    return counts


def effects_by_system(connection: sa.Connection, run_id: str, slice_id: str | None = None) -> dict[str, dict[str, int]]:
    """Identifier system → how many resources of a run, or a slice of it, were created, updated, found unchanged."""
    statement = sa.select(outcome.c.system, outcome.c.action, sa.func.count()).where(outcome.c.run_id == run_id)
    if slice_id is not None:
        statement = statement.where(outcome.c.slice_id == slice_id)
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for system, action, number in connection.execute(statement.group_by(outcome.c.system, outcome.c.action)):
        found[system][action] = number
    return found


def extracted_rows(connection: sa.Connection, run_id: str) -> dict[str, int]:
    """Rows per entity that the run's slices say they hold."""
    statement = (
        sa.select(slice_.c.entity, sa.func.sum(slice_.c.eligible))
        .where(slice_.c.run_id == run_id)
        .group_by(slice_.c.entity)
    )
    return {entity: int(rows) for entity, rows in connection.execute(statement)}


@dataclass(frozen=True, slots=True)
class EntityProgress:
    """How far a run is with an entity: `eligible` and `by` (disposition → number) count source records."""

    entity: str
    slices: int
    loaded_slices: int
    eligible: int
    by: dict[str, int]

    @property
    def decided(self) -> int:
        return sum(number for disposition, number in self.by.items() if disposition != Disposition.PENDING)

    @property
    def total(self) -> int:
        """Of the slices; more where the source has grown since they were cut."""
        return max(self.eligible, sum(self.by.values()))


def progress_by_entity(connection: sa.Connection, run_id: str) -> list[EntityProgress]:
    """How far a run is, entity by entity in the order of the load; at any time, not at its end alone."""
    columns = (source_record.c.entity, source_record.c.disposition)
    counts = sa.select(*columns, sa.func.count()).where(source_record.c.run_id == run_id).group_by(*columns)
    by: dict[str, dict[str, int]] = defaultdict(dict)
    for entity, disposition, number in connection.execute(counts):
        by[entity][disposition] = number
    loaded = sa.func.sum(sa.case((slice_.c.stage == SliceStage.LOADED, 1), else_=0))
    slices = (
        sa.select(slice_.c.entity, sa.func.count(), loaded, sa.func.sum(slice_.c.eligible))
        .where(slice_.c.run_id == run_id)
        .group_by(slice_.c.entity)
        .order_by(sa.func.min(slice_.c.level), slice_.c.entity)
    )
    return [
        EntityProgress(entity, number, int(done), int(rows), by[entity])
        for entity, number, done, rows in connection.execute(slices)
    ]


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """How many source records of an entity ended in a disposition for one reason; `keys` are some of them."""

    entity: str
    disposition: str
    reason: str
    field: str
    count: int
    keys: list[str]


def reasons(connection: sa.Connection, run_id: str, examples: int = 5) -> list[ReasonRow]:
    """Why source records were not successful, the largest groups first."""
    columns = (source_record.c.entity, source_record.c.disposition, source_record.c.reason, source_record.c.field)
    where = sa.and_(
        source_record.c.run_id == run_id,
        source_record.c.disposition.notin_((Disposition.SUCCESSFUL, Disposition.PENDING)),
    )
    grouped = sa.select(*columns, sa.func.count()).where(where).group_by(*columns)
    rows = []
    for entity, disposition, reason, column, number in connection.execute(grouped).all():
        same = (entity, disposition, reason, column)
        keys = sa.select(source_record.c.key).where(where, *(c == v for c, v in zip(columns, same, strict=True)))
        some = list(connection.scalars(keys.order_by(source_record.c.key).limit(examples)))
        rows.append(ReasonRow(entity, disposition, reason, column, number, some))
    return sorted(rows, key=lambda row: (-row.count, row.entity, row.reason))


def findings(connection: sa.Connection, run_id: str) -> list[tuple[str, str, str, int]]:
    """Losses that stopped no source record: (entity, reason, field, count), the largest first."""
    columns = (finding.c.entity, finding.c.reason, finding.c.field)
    statement = sa.select(*columns, sa.func.count()).where(finding.c.run_id == run_id).group_by(*columns)
    rows = [(entity, reason, column, int(n)) for entity, reason, column, n in connection.execute(statement)]
    return sorted(rows, key=lambda row: (-row[3], row[0], row[1]))


def mapping_versions(connection: sa.Connection, run_id: str) -> dict[str, str]:
    """Entity → the versions of its mapping that this run's ledger names."""
    columns = (source_record.c.entity, source_record.c.mapping_version)
    statement = sa.select(*columns).where(source_record.c.run_id == run_id).distinct().order_by(*columns)
    found: dict[str, str] = {}
    for entity, version in connection.execute(statement):
        found[entity] = f"{found[entity]}, {version}" if entity in found else version
    return found
