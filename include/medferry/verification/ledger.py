"""What the manifest's ledger says of given source keys."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from medferry.manifest import source_records as source_units
from medferry.manifest.bulk import among
from medferry.manifest.tables import source_record
from medferry.verification.scope import Scope

GONE = "gone"


def dispositions(scope: Scope, entity: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Key → (unit, disposition), for those of `keys` that have a line in this run.

    A key that a replay did not find in the source any more has the disposition "gone".
    """
    disposition = sa.case((source_record.c.reason == source_units.GONE, GONE), else_=source_record.c.disposition)
    columns = (source_record.c.key, source_record.c.unit, disposition)
    with scope.environment.manifest.begin() as connection:
        mine = (source_record.c.run_id == scope.run.id, source_record.c.entity == entity)
        statement = sa.select(*columns).where(*mine, among(connection, source_record.c.key, keys))
        return {key: (unit, disposition) for key, unit, disposition in connection.execute(statement)}


def present_by_unit(scope: Scope, entity: str) -> dict[str, int]:
    """Unit → lines of rows that the run found in the source: all of them, but for a replay's keys that were gone."""
    present = (source_record.c.entity == entity, source_record.c.reason != source_units.GONE)
    statement = sa.select(source_record.c.unit, sa.func.count()).where(source_record.c.run_id == scope.run.id, *present)
    with scope.environment.manifest.begin() as connection:
        return dict(connection.execute(statement.group_by(source_record.c.unit)).all())


def reasons(scope: Scope, entity: str, keys: Sequence[str]) -> dict[str, str]:
    """Key → disposition, with reason and field where there are any, for those of `keys` that have a line."""
    columns = (source_record.c.key, source_record.c.disposition, source_record.c.reason, source_record.c.field)
    with scope.environment.manifest.begin() as connection:
        mine = (source_record.c.run_id == scope.run.id, source_record.c.entity == entity)
        statement = sa.select(*columns).where(*mine, among(connection, source_record.c.key, keys))
        return {key: " ".join(part for part in said if part) for key, *said in connection.execute(statement)}
