"""What each staged file of a run held when its stage was recorded."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from medferry.manifest.bulk import upsert
from medferry.manifest.tables_of_place import staged_file


def record_files(connection: sa.Connection, run_id: str, digests: Mapping[str, str]) -> None:
    """Keep name → SHA-256 of files that a run has staged; to be called where their stage is recorded."""
    upsert(
        connection, staged_file, ("run_id", "name", "digest"), [(run_id, name, one) for name, one in digests.items()]
    )


def digest_of_file(connection: sa.Connection, run_id: str, name: str) -> str | None:
    """What a staged file held; None for one from before this was kept."""
    statement = sa.select(staged_file.c.digest).where(staged_file.c.run_id == run_id, staged_file.c.name == name)
    return connection.scalar(statement)
