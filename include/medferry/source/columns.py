"""Judge the columns of an entity's SELECT before anything is read."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.database import stream
from medferry.source.entity import SourceEntity
from medferry.source.slices import entity_rows


def check_columns(connection: sa.Connection, entity: SourceEntity) -> None:
    """Raise SourceError, with the entity's name, where `stream` would: for types that are not read, or equal names."""
    everything = sa.select(sa.text("*")).select_from(entity_rows(connection.dialect.name, entity))
    try:
        for _ in stream(connection, everything.limit(0), {}):
            raise AssertionError("LIMIT 0 gave a row")
    except SourceError as error:
        raise SourceError(f"{entity.name}: {error.problem}", error.remedy) from None
