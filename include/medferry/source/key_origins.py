"""What the key of an entity is made of: of which columns of the legacy tables, whatever the entity's SQL calls them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.entity import SourceEntity
from medferry.source.foreign_keys import schema_behind
from medferry.source.inventory import LegacySchema
from medferry.source.origins import read_query


@dataclass(frozen=True, slots=True)
class KeyOrigin:
    """Of one entity: the columns of its header in their order, and what each is made of."""

    columns: tuple[str, ...]
    made_of: tuple[str, ...] | None
    """``table.column``, or an expression over such; None where it cannot be told."""
    query: str
    """SHA-256 of the entity's SELECT."""

    def __str__(self) -> str:
        return ", ".join(self.made_of or self.columns)


def key_origins(connection: sa.Connection, entities: Iterable[SourceEntity]) -> dict[str, KeyOrigin]:
    """Entity → what its key is made of. Raises SourceUnavailable."""
    queries = {one.name: (one, one.query(connection.dialect.name)) for one in entities}
    try:
        schema = schema_behind(connection, [query for _, query in queries.values()])
    except SourceError:  # the catalogue is not for everybody
        schema = None
    known = _Schema.of(schema) if schema else None
    return {name: _origin(known, entity.key, query) for name, (entity, query) in queries.items()}


def is_same(known: KeyOrigin, present: KeyOrigin) -> bool | None:
    """Whether two are of one meaning; None where that cannot be told."""
    if known.made_of is not None and present.made_of is not None:
        return known.made_of == present.made_of
    return True if (known.columns, known.query) == (present.columns, present.query) else None


class _Schema(NamedTuple):
    """A `LegacySchema` that can be looked up: what was parsed once need not be for each cut of a synchronisation."""

    dialect: str
    default: str
    tables: tuple[tuple[str, tuple[str, ...]], ...]
    views: tuple[tuple[str, str], ...]
    view_columns: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, schema: LegacySchema) -> _Schema:
        columns = tuple(schema.view_columns.items())
        return cls(schema.dialect, schema.default, tuple(schema.tables.items()), tuple(schema.views.items()), columns)

    def schema(self) -> LegacySchema:
        return LegacySchema(self.dialect, self.default, dict(self.tables), dict(self.views), dict(self.view_columns))


@lru_cache(maxsize=1_000)
def _origin(schema: _Schema | None, key: tuple[str, ...], query: str) -> KeyOrigin:
    read = read_query(schema.schema(), query) if schema else None
    made = tuple(told for name in key if read and (told := read.made_of(name)) is not None)
    digest = hashlib.sha256(query.encode("utf-8", "surrogateescape")).hexdigest()
    return KeyOrigin(key, made if len(made) == len(key) else None, digest)
