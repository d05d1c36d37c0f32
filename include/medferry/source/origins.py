"""From which columns of tables a SELECT takes what it gives, through subqueries and views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, build_scope

from medferry.source.dialects import DIALECTS
from medferry.source.inventory import Column, LegacySchema

_NOTHING_ADDED = (exp.Alias, exp.Paren, exp.Cast, exp.TryCast, exp.Trim)
_ITSELF = ""
"""What a query that is built on itself takes from itself."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The columns that a value is made of; `plain`: it is the value of one, at most cast or trimmed."""

    columns: frozenset[Column] = frozenset()
    plain: bool = False


@dataclass(frozen=True)
class Query:
    """One SELECT, as `read_query` gives it."""

    schema: LegacySchema
    sql: str

    def origin(self, name: str) -> Origin:
        """Of a column that the SELECT gives; of none that it does not give by this name."""
        return self._given(self._scope, self.schema.folded(name))

    @cached_property
    def outputs(self) -> dict[str, Origin]:
        return {name: self._given(self._scope, name) for name in _names(self._scope)}

    def made_of(self, name: str) -> str | None:
        """Of what a column that the SELECT gives is made, in text that is the same however aliases are called.

        A plain column of a table, at most cast or trimmed, as ``table.column``; else the expression, over such. None
        where it cannot be told. Which of two uses of one table in a query is meant, it does not say.
        """
        return self._told_of(self._scope, self.schema.folded(name), frozenset())

    @cached_property
    def tables(self) -> frozenset[str]:
        """The tables that it reads, those behind views too."""
        return frozenset(table for table, _ in self.schema.reads_of(self.sql))

    @cached_property
    def equal(self) -> list[frozenset[Column]]:
        """Columns that it compares for being equal, two and two."""
        pairs = [
            (self._of(scope, equation.this), self._of(scope, equation.expression))
            for scope in self._scope.traverse()
            for equation in scope.find_all(exp.EQ)
        ]
        return [one.columns | other.columns for one, other in pairs if one.plain and other.plain]

    @cached_property
    def _scope(self) -> Scope:
        scope = build_scope(self.schema.qualified(self.sql))
        assert scope is not None  # a SELECT has one
        return scope

    @cached_property
    def _found(self) -> dict[tuple[int, str], Origin]:
        """Of a scope, by its id, and a column that it gives."""
        return {}

    @cached_property
    def _views(self) -> dict[str, Query]:
        return {name: Query(self.schema, sql) for name, sql in self.schema.views.items()}

    def _given(self, scope: Scope, name: str) -> Origin:
        names = _names(scope)
        if name not in names:
            return Origin()
        at = id(scope), name
        if at not in self._found:
            self._found[at] = Origin(plain=True)  # what a query that is built on itself adds to itself
            self._found[at] = _together(self._of(one, value) for one, value in _values(scope, names.index(name)))
        return self._found[at]

    def _of(self, scope: Scope, value: exp.Expr) -> Origin:
        while isinstance(value, _NOTHING_ADDED):
            value = value.this
        if isinstance(value, exp.Column):
            return self._of_column(scope, value)
        if isinstance(value, exp.Subquery | exp.Select | exp.SetOperation):
            inner = value.unnest() if isinstance(value, exp.Subquery) else value
            found = [one for one in scope.subquery_scopes if one.expression is inner]
            return _together(self._given(one, name) for one in found for name in _names(one))
        parts = [self._of(scope, part) for part in value.iter_expressions()]
        return Origin(frozenset[Column]().union(*(part.columns for part in parts)))

    def _of_column(self, scope: Scope, column: exp.Column) -> Origin:
        source = self._source_of(scope, column)
        if isinstance(source, Scope):
            return self._given(source, column.name)
        if not isinstance(source, exp.Table):
            return Origin()
        table, name = self.schema.column_of(source, column.name)
        if table in self._views:
            return self._views[table].origin(name)
        return Origin(frozenset({(table, name)}), plain=True) if table else Origin()

    def _source_of(self, scope: Scope, column: exp.Column) -> exp.Expr | Scope | None:
        at: Scope | None = scope
        while at is not None and column.table not in at.sources:
            at = at.parent  # what a subquery takes from the rows around it
        return at.sources[column.table] if at is not None else None

    def _told_of(self, scope: Scope, name: str, within: frozenset[tuple[int, str]]) -> str | None:
        names, at = _names(scope), (id(scope), name)
        if name not in names:
            return None
        if at in within:
            return _ITSELF
        values = _values(scope, names.index(name))
        found = {self._told(one, value, within | {at}) for one, value in values} - {_ITSELF}
        return None if None in found else " or ".join(sorted(filter(None, found)))

    def _told(self, scope: Scope, value: exp.Expr, within: frozenset[tuple[int, str]]) -> str | None:
        while isinstance(value, _NOTHING_ADDED):
            value = value.this
        if isinstance(value, exp.Column):
            return self._told_of_column(scope, value, within)
        made = value.copy()
        for table in made.find_all(exp.Table):
            table.set("db", None)  # a copy of the database may have another name
        if not made.find(exp.Query):  # else in its own words: a change of them is one
            for column in list(made.find_all(exp.Column)):
                if (told := self._told_of_column(scope, column, within)) is None:
                    return None
                column.replace(exp.Var(this=told))
        return made.sql(dialect=DIALECTS[self.schema.dialect].sqlglot, comments=False)

    def _told_of_column(self, scope: Scope, column: exp.Column, within: frozenset[tuple[int, str]]) -> str | None:
        source = self._source_of(scope, column)
        if isinstance(source, Scope):
            return self._told_of(source, column.name, within)
        if not isinstance(source, exp.Table):
            return None
        table, name = self.schema.column_of(source, column.name)
        if table in self._views:
            return self._views[table].made_of(name)
        return f"{table}.{name}" if table else None


def read_query(schema: LegacySchema, sql: str) -> Query | None:
    """None where no parser reads it, or a view behind it: the database has to judge it alone."""
    query = Query(schema, sql)
    try:
        return query if query.tables and query.outputs else None
    except SqlglotError:
        return None


def _names(scope: Scope) -> list[str]:
    """What a query gives."""
    return scope.expression.named_selects if isinstance(scope.expression, exp.Query) else []


def _values(scope: Scope, place: int) -> Iterator[tuple[Scope, exp.Expr]]:
    """The value in one place of a query, or of each that a UNION is made of."""
    for one in scope.set_operation_scopes:
        yield from _values(one, place)
    if not scope.set_operation_scopes and isinstance(scope.expression, exp.Query):
        yield scope, scope.expression.selects[place]


def _together(origins: Iterator[Origin]) -> Origin:
    found = list(origins)
    columns = frozenset[Column]().union(*(one.columns for one in found))
    return Origin(columns, len(columns) == 1 and all(one.plain for one in found))
