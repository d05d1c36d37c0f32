"""What is true of each source record now: written in the transaction that decides a record, whichever run it is of.

The ledger keeps what every run made of a record; this keeps the last word. A dry run decides nothing, and a pending
line leaves what was true before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from medferry.manifest.bulk import among
from medferry.manifest.database import now
from medferry.manifest.hashes import ContentHash
from medferry.manifest.tables import run, source_record, unit_state
from medferry.mapping.outcomes import DEAD, Disposition, Reason


@dataclass(frozen=True, slots=True)
class RecordState:
    """What is true of a source record now, and the run that decided it last (at a UTC time)."""

    entity: str
    key: str
    unit: str
    disposition: str
    reason: str
    source_digest: str
    mapping_version: str
    fingerprint: str
    run_id: str
    decided_at: str


def states_of(connection: sa.Connection, migration: str, entity: str, keys: Iterable[str]) -> dict[str, RecordState]:
    """Key → what is true of its record now; keys that no run has decided are left out."""
    columns = [unit_state.c[name] for name in RecordState.__slots__]
    statement = sa.select(*columns).where(_of(connection, migration, entity, keys))
    return {row.key: RecordState(*row) for row in connection.execute(statement)}


def digests_of(connection: sa.Connection, migration: str, entity: str, keys: Iterable[str]) -> dict[str, str]:
    """Key → digest of the row from which its present state was decided; empty where no run has kept it.

    Also of records whose digest was forgotten, so that they are staged again: the line of the run that decided them
    has it. Left out are records of which the source had no row.
    """
    line = sa.and_(
        source_record.c.run_id == unit_state.c.run_id,
        source_record.c.entity == unit_state.c.entity,
        source_record.c.key == unit_state.c.key,
    )
    digest = sa.func.coalesce(
        sa.func.nullif(unit_state.c.source_digest, "", type_=ContentHash), source_record.c.source_digest, ""
    )
    statement = (
        sa.select(unit_state.c.key, digest)
        .outerjoin(source_record, line)
        .where(_of(connection, migration, entity, keys), unit_state.c.reason != Reason.SOURCE_ROW_GONE)
    )
    return dict(connection.execute(statement).all())


def count_present(connection: sa.Connection, migration: str, units: Collection[str], since: str = "") -> int:
    """The records of some units that the source has, or of these those that were decided at a time (UTC) or later."""
    own = (unit_state.c.migration == migration, unit_state.c.unit.in_(sorted(units)))
    there = (unit_state.c.reason != Reason.SOURCE_ROW_GONE, unit_state.c.decided_at >= since)
    return int(connection.scalar(sa.select(sa.func.count()).select_from(unit_state).where(*own, *there)) or 0)


def counts_of(connection: sa.Connection, migration: str, units: Collection[str]) -> list[tuple[str, str, str, int]]:
    """(entity, unit, disposition, records) of what was last decided in some units, in order."""
    columns = (unit_state.c.entity, unit_state.c.unit, unit_state.c.disposition)
    own = (unit_state.c.migration == migration, unit_state.c.unit.in_(sorted(units)))
    statement = sa.select(*columns, sa.func.count()).where(*own).group_by(*columns).order_by(*columns)
    return [(entity, unit, disposition, number) for entity, unit, disposition, number in connection.execute(statement)]


def dead_now(connection: sa.Connection, migration: str, units: Collection[str]) -> list[tuple[str, str, str]]:
    """(entity, reason, key) of the records of some units that are rejected or quarantined as it is now, in order."""
    columns = (unit_state.c.entity, unit_state.c.reason, unit_state.c.key)
    own = (unit_state.c.migration == migration, unit_state.c.unit.in_(sorted(units)))
    statement = sa.select(*columns).where(*own, unit_state.c.disposition.in_(DEAD)).order_by(*columns)
    return [(entity, reason, key) for entity, reason, key in connection.execute(statement)]


def decided_since(
    connection: sa.Connection, migration: str, units: Mapping[str, Collection[str]], time: str
) -> dict[str, set[str]]:
    """Entity → the keys of its records in some units that were decided at a time or after it."""
    columns = (unit_state.c.entity, unit_state.c.key, unit_state.c.unit)
    since = (unit_state.c.migration == migration, unit_state.c.decided_at >= time)
    of = (unit_state.c.entity.in_(list(units)), unit_state.c.unit.in_(sorted({*chain.from_iterable(units.values())})))
    found: dict[str, set[str]] = {}
    for row in connection.execute(sa.select(*columns).where(*since, *of)):
        if row.unit in units[row.entity]:
            found.setdefault(row.entity, set()).add(row.key)
    return found


def _of(connection: sa.Connection, migration: str, entity: str, keys: Iterable[str]) -> sa.ColumnElement[bool]:
    of_entity = sa.and_(unit_state.c.migration == migration, unit_state.c.entity == entity)
    return sa.and_(of_entity, among(connection, unit_state.c.key, keys))


def take_over_decided(connection: sa.Connection, run_id: str, *lines: sa.ColumnElement[bool]) -> None:
    """Make those of a run's ledger `lines` that are decided true now; to be called where they are written.

    One statement within the database: the lines hold all of it, and a dry run's are passed over.
    """
    taken = ("entity", "key", "unit", "disposition", "reason", "source_digest", "mapping_version", "run_id")
    fingerprint = sa.func.coalesce(sa.func.nullif(source_record.c.fingerprint, ""), run.c.fingerprint)
    decided = (
        sa.select(run.c.migration, *(source_record.c[name] for name in taken), fingerprint, sa.literal(now()))
        .join(run, run.c.id == source_record.c.run_id)
        .where(
            run.c.id == run_id,
            run.c.options["dry_run"].as_boolean().is_not(True),
            source_record.c.run_id == run_id,
            source_record.c.disposition != Disposition.PENDING,
            *lines,
        )
    )
    names = ("migration", *taken, "fingerprint", "decided_at")
    statement: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(unit_state)
    keys = [column.name for column in unit_state.primary_key]
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    connection.execute(statement.from_select(names, decided).on_conflict_do_update(index_elements=keys, set_=changed))
