"""Resources of which another took the place in the crosswalk: they may be in Medplum still.

A record is loaded as another type, or anew because somebody deleted what it was: the crosswalk has room for one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from medferry.fhir.references import by_type
from medferry.manifest.bulk import among, upsert
from medferry.manifest.tables import metadata, target

_KEY = ("migration", "resource_type", "medplum_id")

former_target = sa.Table(
    "former_target",
    metadata,
    *(sa.Column(c.name, c.type, primary_key=c.name in _KEY, nullable=False) for c in target.columns if not c.nullable),
    comment="resources of which another took the place in the crosswalk",
)


def remember_replaced(connection: sa.Connection, migration: str, names: Iterable[tuple[str, str, str]]) -> None:
    """Keep what the crosswalk has under the `names` (system, value) with another id than the one that they get now."""
    by_system: dict[str, dict[str, str]] = defaultdict(dict)
    for system, value, medplum_id in names:
        by_system[system][value] = medplum_id
    for system, ids in by_system.items():
        same, other = among(connection, target.c.value, ids), ~among(connection, target.c.medplum_id, ids.values())
        own = (target.c.migration == migration, target.c.system == system)
        columns = tuple(former_target.columns.keys())
        found = connection.execute(sa.select(*(target.c[name] for name in columns)).where(*own, same, other)).all()
        upsert(connection, former_target, columns, [tuple(row) for row in found])


def replaced_by(connection: sa.Connection, migration: str, run_id: str) -> dict[str, set[str]]:
    """Resource type → the former ids of what a run has made anew, of the same type."""
    same = sa.and_(
        *(former_target.c[name] == target.c[name] for name in ("migration", "system", "value", "resource_type"))
    )
    statement = sa.select(former_target.c.resource_type, former_target.c.medplum_id).join(target, same)
    own = (target.c.migration == migration, target.c.run_id == run_id)
    rows = connection.execute(statement.where(*own, former_target.c.medplum_id != target.c.medplum_id))
    return by_type((row.resource_type, row.medplum_id) for row in rows)


def known_ids(connection: sa.Connection, migration: str, resource_type: str, ids: Sequence[str]) -> set[str]:
    """Those of some ids that the crosswalk has, or had before another resource took the place."""
    found: set[str] = set()
    for table in (target, former_target):
        own = (table.c.migration == migration, table.c.resource_type == resource_type)
        statement = sa.select(table.c.medplum_id).where(*own, among(connection, table.c.medplum_id, ids))
        found.update(connection.scalars(statement))
    return found
