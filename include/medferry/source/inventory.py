"""What the legacy database holds, and which entity reads it, so that nothing is left behind unknowingly.

A column counts as read when an entity's SQL names it anywhere: in what it selects, joins, compares or sorts by.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

from medferry.errors import SourceError
from medferry.source.dialects import DIALECTS
from medferry.source.entity import SourceEntity

Column = tuple[str, str]
"""(table, column), as the engine names them; a table outside the default schema as ``schema.table``."""


@dataclass(frozen=True)
class LegacySchema:
    """Tables and views of one database, with their columns in the engine's order.

    `views` has the SELECT behind each view; its columns are those of the tables that it reads.
    """

    dialect: str
    default: str
    """The schema that is meant where the SQL names none."""
    tables: Mapping[str, tuple[str, ...]]
    views: Mapping[str, str]
    view_columns: Mapping[str, tuple[str, ...]]

    def reads_of(self, sql: str) -> set[Column]:
        """The columns of tables that a SELECT reads, by itself and through views. Raises SqlglotError."""
        found: set[Column] = set()
        for name, column in self._named(sql):
            if name in self.views:
                found |= self._reads_of_view(name)
            elif name in self.tables:
                found.add((name, column))
        return found

    def _reads_of_view(self, name: str) -> set[Column]:
        if name not in self._views_read:
            self._views_read[name] = set()  # of views in a circle, which no engine reads
            self._views_read[name] = self.reads_of(self.views[name])
        return self._views_read[name]

    @cached_property
    def _views_read(self) -> dict[str, set[Column]]:
        return {}

    @cached_property
    def _names(self) -> dict[str, str]:
        """What SQL may call a table or view → what the engine calls it."""
        return {self.folded(name): name for name in (*self.tables, *self.views)}

    @cached_property
    def _columns(self) -> dict[str, dict[str, str]]:
        return {
            name: {self.folded(column): column for column in columns}
            for name, columns in (*self.tables.items(), *self.view_columns.items())
        }

    @cached_property
    def _mapping(self) -> MappingSchema:
        """The schema as sqlglot resolves names and stars with it: schema → table → column."""
        given: dict[str, Any] = defaultdict(dict)
        for name, columns in self._columns.items():
            schema, _, table = name.rpartition(".")
            given[self.folded(schema or self.default)][self.folded(table)] = dict.fromkeys(columns, "text")
        return MappingSchema(dict(given), dialect=self._dialect, normalize=False)

    @property
    def _dialect(self) -> str:
        return DIALECTS[self.dialect].sqlglot

    def folded(self, name: str) -> str:
        """PostgreSQL tells quoted names apart by case; the others compare names without it."""
        return name if DIALECTS[self.dialect].is_case_told else name.casefold()

    def _named(self, sql: str) -> Iterable[Column]:
        """(table or view, column) of every column that the SQL names and that belongs to one."""
        for scope in traverse_scope(self.qualified(sql)):
            for column in scope.columns:
                table = scope.sources.get(column.table)
                if isinstance(table, exp.Table):
                    yield self.column_of(table, column.name)

    def qualified(self, sql: str) -> exp.Expr:
        """A query with its stars written out, and the table before each column. Raises SqlglotError."""
        parsed = sqlglot.parse_one(sql, dialect=self._dialect)
        if not DIALECTS[self.dialect].is_case_told:
            parsed = parsed.transform(_casefolded)
        return qualify(
            parsed,
            dialect=self._dialect,
            db=self.folded(self.default),
            schema=self._mapping,
            validate_qualify_columns=False,
            quote_identifiers=False,
        )

    def column_of(self, table: exp.Table, name: str) -> Column:
        """A column of a qualified query, by the engine's names; the table's is empty where the schema has it not."""
        prefix = "" if table.db == self.folded(self.default) else f"{table.db}."
        known = prefix + table.name
        return self.held(known, name) if self.folded(known) in self._names else ("", name)

    def held(self, table: str, column: str) -> Column:
        """A column by the engine's names, where the schema has it."""
        known = self._names.get(self.folded(table), table)
        return known, self._columns.get(known, {}).get(self.folded(column), column)


def _casefolded(node: exp.Expression) -> exp.Expression:
    return exp.to_identifier(node.name.casefold(), quoted=node.quoted) if isinstance(node, exp.Identifier) else node


def legacy_schema(connection: sa.Connection) -> LegacySchema:
    """Tables and views of the default schema, and of every other that is not the engine's own where it has them."""
    inspector = sa.inspect(connection)
    default = inspector.default_schema_name or "main"
    others = _other_schemas(connection.dialect.name, inspector.get_schema_names, default)
    tables: dict[str, tuple[str, ...]] = {}
    views: dict[str, str] = {}
    view_columns: dict[str, tuple[str, ...]] = {}
    for schema in (None, *others):
        prefix = f"{schema}." if schema else ""
        for name in inspector.get_table_names(schema):
            tables[prefix + name] = tuple(column["name"] for column in inspector.get_columns(name, schema))
        for name in inspector.get_view_names(schema):
            views[prefix + name] = select_of(inspector.get_view_definition(name, schema))
            view_columns[prefix + name] = tuple(column["name"] for column in inspector.get_columns(name, schema))
    return LegacySchema(connection.dialect.name, default, tables, views, view_columns)


_OWN_SCHEMAS = {"postgresql": {"information_schema"}, "mssql": {"information_schema", "sys", "guest"}}
"""Of the engines whose other schemas are looked at; SQL Server has one besides for each role of a database."""


def _other_schemas(dialect: str, names: Callable[[], list[str]], default: str) -> list[str]:
    if dialect not in _OWN_SCHEMAS:
        return []
    own = {default.casefold(), *_OWN_SCHEMAS[dialect]}
    return [name for name in names() if name.casefold() not in own and not name.startswith("db_")]


_CREATES = re.compile(r"\s*CREATE\b.*?\bAS\s", re.IGNORECASE | re.DOTALL)


def select_of(definition: str) -> str:
    """The SELECT of a view's definition: some engines give the whole CREATE VIEW."""
    begin = _CREATES.match(definition)
    return definition[begin.end() if begin else 0 :].strip().rstrip(";")


def readers(schema: LegacySchema, entities: Iterable[SourceEntity]) -> dict[Column, list[str]]:
    """Column → the entities that read it. Raises SourceError naming the file whose SQL cannot be read."""
    found: dict[Column, list[str]] = defaultdict(list)
    for entity in entities:
        try:
            columns = schema.reads_of(entity.query(schema.dialect))
        except SqlglotError as error:
            raise SourceError(
                f"{entity.path}: its SELECT could not be read as {schema.dialect} ({type(error).__name__}).",
                "Run it by hand; what the engine accepts and this does not is a fault of Medferry.",
            ) from None
        for column in columns:
            found[column].append(entity.name)
    return found
