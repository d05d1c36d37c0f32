"""What the manifest's ledger says of given source keys."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.tables import source_unit
from medferry.verification.scope import Scope


def dispositions(scope: Scope, entity: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Key → (unit, disposition), for those of `keys` that have a line in this run."""
    columns = (source_unit.c.key, source_unit.c.unit, source_unit.c.disposition)
    with scope.environment.manifest.begin() as connection:
        mine = (source_unit.c.run_id == scope.run.id, source_unit.c.entity == entity)
        statement = sa.select(*columns).where(*mine, among(connection, source_unit.c.key, keys))
        return {key: (unit, disposition) for key, unit, disposition in connection.execute(statement)}
