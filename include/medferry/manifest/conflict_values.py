"""Which kept values of conflicts nothing needs any more."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from medferry.fhir.sides import Side
from medferry.manifest.conflicts import ConflictState, KeptValue
from medferry.manifest.tables import target
from medferry.manifest.tables_of_conflicts import conflict as table

_KEPT = ("base", Side.LEGACY, Side.MEDPLUM)


@dataclass(frozen=True, slots=True)
class ValuesOver:
    """Values of a conflict that may be removed, by what they are of."""

    conflict_id: int
    values: dict[str, KeptValue]


def values_over(connection: sa.Connection, migration: str, before: str) -> list[ValuesOver]:
    """Of the conflicts that have been applied or superseded before a time.

    What the mapping had made stays while the resource is in another form by that decision: the next change of the row
    is compared with it, and no history of Medplum's tells it.
    """
    merged = sa.exists().where(
        target.c.migration == table.c.migration,
        target.c.system == table.c.system,
        target.c.value == table.c.key,
        target.c.wanted_hash.is_not(None),
    )
    needed = sa.and_(table.c.state == ConflictState.APPLIED, merged)
    pointers = [table.c[f"{name}_{part}"] for name in _KEPT for part in ("name", "digest")]
    over = (
        table.c.migration == migration,
        table.c.state.in_((ConflictState.APPLIED, ConflictState.SUPERSEDED)),
        table.c.changed_at < before,
    )
    found = []
    for row in connection.execute(sa.select(table.c.id, *pointers, needed.label("needed")).where(*over)):
        of = row._mapping
        kept = {
            name: KeptValue(of[f"{name}_name"], of[f"{name}_digest"])
            for name in _KEPT
            if of[f"{name}_name"] and not (name == Side.LEGACY and row.needed)
        }
        if kept:
            found.append(ValuesOver(row.id, kept))
    return found


def kept_names(connection: sa.Connection) -> set[str]:
    """The names of all values that a conflict of any migration has."""
    columns = [table.c[f"{name}_name"] for name in _KEPT]
    return {name for row in connection.execute(sa.select(*columns)) for name in row if name}


def drop_values(connection: sa.Connection, over: ValuesOver) -> None:
    """They are removed."""
    nothing = {f"{name}_{part}": None for name in over.values for part in ("name", "digest")}
    connection.execute(sa.update(table).where(table.c.id == over.conflict_id).values(nothing))
