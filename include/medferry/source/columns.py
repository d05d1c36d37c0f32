"""Judge the columns of an entity's SELECT before anything is read."""

from __future__ import annotations

from collections.abc import Mapping

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


def column_types(connection: sa.Connection, source: sa.TextClause) -> Mapping[str, object]:
    """Column → the engine's number of its type, of a table or subquery; None on SQLite, whose columns have none."""
    result = connection.execute(sa.select(sa.text("*")).select_from(source).limit(0))
    assert result.cursor is not None
    types = {str(column[0]): column[1] for column in result.cursor.description}
    result.close()
    return types
