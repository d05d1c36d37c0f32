"""Records that need no work: their row is what it was when they were last decided, by the same mapping.

Such a record is neither staged nor written; its ledger line, findings and outcomes are those of the run that decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.crosswalk import Effect
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.tables import finding, outcome, source_record, target, unit_state
from medferry.mapping.outcomes import DECIDED_BY_LOAD, Disposition


class Location(NamedTuple):
    """Where a resource of the record `key` is in Medplum, in the version that the crosswalk knows."""

    key: str
    resource_type: str
    medplum_id: str
    version_id: str


def same_rows(
    connection: sa.Connection, run: RunRow, entity: str, digests: Mapping[str, str]
) -> dict[str, Disposition]:
    """Key → disposition of those records whose row has the digest, and whose migration the fingerprint, of before.

    `digests` are the present rows' by key. Left out is what the load decided against: it may end otherwise today.
    """
    same = sa.and_(
        source_record.c.run_id == unit_state.c.run_id,
        source_record.c.entity == unit_state.c.entity,
        source_record.c.key == unit_state.c.key,
    )
    statement = (
        sa.select(unit_state.c.key, unit_state.c.disposition, unit_state.c.source_digest)
        .join(source_record, same)
        .where(
            unit_state.c.migration == run.migration,
            unit_state.c.entity == entity,
            among(connection, unit_state.c.key, digests),
            unit_state.c.run_id != run.id,
            unit_state.c.fingerprint == run.fingerprint,
            unit_state.c.reason.not_in(DECIDED_BY_LOAD),
        )
    )
    return {
        key: Disposition(disposition)
        for key, disposition, digest in connection.execute(statement).all()
        if digest == digests[key]
    }


def locations_of(
    connection: sa.Connection, migration: str, entity: str, systems: Sequence[str], keys: Iterable[str]
) -> list[Location]:
    """Where the crosswalk has what the runs that decided some records last have written or confirmed."""
    written = sa.and_(
        outcome.c.run_id == unit_state.c.run_id,
        outcome.c.system.in_(systems),
        outcome.c.value == unit_state.c.key,
    )
    known = sa.and_(
        target.c.migration == unit_state.c.migration,
        target.c.system == outcome.c.system,
        target.c.value == outcome.c.value,
    )
    statement = (
        sa.select(unit_state.c.key, target.c.resource_type, target.c.medplum_id, target.c.version_id)
        .join(outcome, written)
        .join(target, known)
        .where(*_states(connection, migration, entity, keys))
    )
    return [Location._make(row) for row in connection.execute(statement).all()]


def carry_over(
    connection: sa.Connection, run: RunRow, slice_: SliceRow, systems: Sequence[str], keys: Sequence[str]
) -> Counter[str]:
    """Give the run the ledger lines, findings and outcomes ("unchanged") that these records have from before.

    Returns the lines by disposition.
    """
    states = _states(connection, run.migration, slice_.entity, keys)
    same = (unit_state.c.entity, unit_state.c.key, unit_state.c.run_id)
    for table, columns, given, extra in (
        (source_record, (source_record.c.entity, source_record.c.key), {"slice_id": slice_.id}, ()),
        (finding, (finding.c.entity, finding.c.key), {}, ()),
        (
            outcome,
            (outcome.c.entity, outcome.c.value),
            {"slice_id": slice_.id, "action": Effect.UNCHANGED},
            (outcome.c.system.in_(systems),),
        ),
    ):
        before = sa.and_(*(left == right for left, right in zip((*columns, table.c.run_id), same, strict=True)), *extra)
        literal = {name: sa.literal(value) for name, value in {"run_id": run.id, **given}.items()}
        values = [literal.get(column.name, column) for column in table.columns]
        lines = sa.select(*values).select_from(unit_state.join(table, before)).where(*states)
        connection.execute(sa.insert(table).from_select([column.name for column in table.columns], lines))
    of_slice = sa.and_(source_record.c.run_id == run.id, source_record.c.slice_id == slice_.id)
    carried = sa.select(source_record.c.disposition, sa.func.count()).where(
        of_slice, source_record.c.entity == slice_.entity, among(connection, source_record.c.key, keys)
    )
    return Counter(dict(connection.execute(carried.group_by(source_record.c.disposition)).all()))


def forget_digests(connection: sa.Connection, migration: str, entities: Sequence[str]) -> None:
    """Let all records of `entities` be staged in the next run: what they refer to has another id now."""
    of_entities = sa.and_(unit_state.c.migration == migration, unit_state.c.entity.in_(entities))
    connection.execute(sa.update(unit_state).where(of_entities).values(source_digest=""))


def forget_digests_of(connection: sa.Connection, migration: str, entity: str, keys: Iterable[str]) -> None:
    """The same of some records of one."""
    statement = sa.update(unit_state).where(*_states(connection, migration, entity, keys))
    connection.execute(statement.values(source_digest=""))


def _states(
    connection: sa.Connection, migration: str, entity: str, keys: Iterable[str]
) -> tuple[sa.ColumnElement[bool], ...]:
    return unit_state.c.migration == migration, unit_state.c.entity == entity, among(connection, unit_state.c.key, keys)
