"""The foreign keys of the tables that some queries read, with as much of the schema as tells columns apart."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
import sqlglot
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint
from sqlglot import exp
from sqlglot.errors import SqlglotError

from medferry.errors import SourceError
from medferry.source.database import set_apart
from medferry.source.dialects import DIALECTS
from medferry.source.inventory import Column, LegacySchema, select_of

Refers = Mapping[Column, frozenset[Column]]
"""Column of a foreign key → the columns that it refers to, by the engine's names."""


def foreign_keys(connection: sa.Connection, queries: Iterable[str]) -> tuple[LegacySchema, Refers]:
    """Raises SourceError where the database does not let its catalogue be read, SourceUnavailable."""
    with _catalogue(connection, queries) as found:
        return found.schema, found.refers(found.schema)


def schema_behind(connection: sa.Connection, queries: Iterable[str]) -> LegacySchema:
    """As much of the schema as some queries read. Raises as `foreign_keys`."""
    with _catalogue(connection, queries) as found:
        return found.schema


@contextmanager
def _catalogue(connection: sa.Connection, queries: Iterable[str]) -> Iterator[_Catalogue]:
    with set_apart(connection), warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # of columns whose types nobody asks for here
        found = _Catalogue(connection)
        for query in queries:
            found.read(query)
        yield found


@dataclass
class _Catalogue:
    """What the database tells of the tables that were named; a view of which it shows no SELECT counts as a table."""

    connection: sa.Connection
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    view_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inspector = sa.inspect(self.connection)
        self.default = self.inspector.default_schema_name or "main"
        self._places: dict[str, tuple[str | None, str]] = {}
        """Table, by its name here → (schema, table), as the inspector is asked for it."""
        self._listed: dict[str | None, tuple[list[str], list[str]]] = {}

    def read(self, query: str) -> None:
        for schema, name in self._named(query):
            tables, views = self._names(schema)
            for one in (*tables, *views):
                known = f"{schema}.{one}" if schema else one
                if one.casefold() == name.casefold() and known not in {*self.tables, *self.views}:
                    self._add(known, schema, one, one in views)

    @property
    def schema(self) -> LegacySchema:
        return LegacySchema(self.connection.dialect.name, self.default, self.tables, self.views, self.view_columns)

    def refers(self, schema: LegacySchema) -> Refers:
        found: dict[Column, set[Column]] = defaultdict(set)
        for table, parent, key in self._keys():
            # A column may stand in a foreign key as nobody has written it in the table: SQLite repeats what was typed.
            for own, aim in zip(key["constrained_columns"], key["referred_columns"], strict=False):
                found[schema.held(table, own)].add(schema.held(parent, aim))
        return {column: frozenset(aims) for column, aims in found.items()}

    def _keys(self) -> Iterator[tuple[str, str, ReflectedForeignKeyConstraint]]:
        """(table, table that it refers to, foreign key)."""
        for table, (schema, name) in self._places.items():
            for key in self.inspector.get_foreign_keys(name, schema):
                of = key["referred_schema"]
                prefix = f"{of}." if of and of != self.default else ""
                yield table, prefix + key["referred_table"], key

    def _named(self, query: str) -> Iterator[tuple[str | None, str]]:
        try:
            parsed = sqlglot.parse_one(query, dialect=DIALECTS[self.connection.dialect.name].sqlglot)
        except SqlglotError:
            return
        for table in parsed.find_all(exp.Table):
            yield (None if table.db.casefold() in ("", self.default.casefold()) else table.db), table.name

    def _names(self, schema: str | None) -> tuple[list[str], list[str]]:
        if schema not in self._listed:
            self._listed[schema] = self.inspector.get_table_names(schema), self.inspector.get_view_names(schema)
        return self._listed[schema]

    def _add(self, known: str, schema: str | None, name: str, is_view: bool) -> None:
        try:
            with set_apart(self.connection):
                columns = tuple(column["name"] for column in self.inspector.get_columns(name, schema))
        except SourceError:
            return  # what stands behind a view may be nobody's who reads the view
        if not is_view:
            self.tables[known], self._places[known] = columns, (schema, name)
        elif select := self._select(schema, name):
            self.views[known], self.view_columns[known] = select, columns
            self.read(select)
        else:
            self.tables[known] = columns

    def _select(self, schema: str | None, name: str) -> str:
        try:
            with set_apart(self.connection):
                return select_of(self.inspector.get_view_definition(name, schema))
        except SourceError:
            return ""
