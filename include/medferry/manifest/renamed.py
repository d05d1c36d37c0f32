"""Names that may have been renamed: the plan writes under a new one, and makes nothing under an old one any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.tables import target
from medferry.manifest.tables_of_place import identifier_owner


class Renaming(NamedTuple):
    """`number` resources of a type are known under the system `old`, none under `new`."""

    resource_type: str
    old: str
    new: str
    number: int


def renamings(connection: sa.Connection, migration: str, types: Mapping[str, str]) -> list[Renaming]:
    """What may be one name before and now, in order; `types` are identifier system → resource type of the present plan.

    A system is new that the migration has not owned, nor written under. One that is old counts for each new one of its
    type: which of them it was nobody can tell.
    """
    owned = sa.select(identifier_owner.c.system).where(identifier_owner.c.migration == migration)
    new = types.keys() - set(connection.scalars(owned.where(among(connection, identifier_owner.c.system, types))))
    if not new:
        return []
    of = target.c.migration == migration
    new -= set(
        connection.scalars(sa.select(target.c.system).where(of, among(connection, target.c.system, new)).distinct())
    )
    old = (
        sa.select(target.c.resource_type, target.c.system, sa.func.count().label("number"))
        .where(of, ~among(connection, target.c.system, types))
        .group_by(target.c.resource_type, target.c.system)
        .order_by(target.c.resource_type, target.c.system)
    )
    return [
        Renaming(row.resource_type, row.system, system, row.number)
        for row in connection.execute(old).all()
        for system in sorted(new)
        if types[system] == row.resource_type
    ]
