"""Whether references are made of the columns by which the legacy database itself refers to the same rows.

Where the key of an entity is another column than the one that foreign keys refer to, and both hold alike values, a
reference leads to another row's resource; checks that take the same column for the key find it right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import sqlalchemy as sa

from medferry.definition.checks import Check, ManyCheck, places
from medferry.definition.migration import Migration
from medferry.definition.written_references import WrittenReference, written_references
from medferry.errors import DefinitionError, SourceError, gathered
from medferry.plan.load import line_of
from medferry.source.foreign_keys import Refers, foreign_keys
from medferry.source.inventory import Column, LegacySchema
from medferry.source.origins import Origin, Query, read_query


@dataclass(frozen=True, slots=True)
class _Compared:
    """The reference that a check compares: `sql` gives its values, one for each column of the key, in their order."""

    told: str
    steps: tuple[int | str, ...]
    entity: str
    sql: str


@dataclass(frozen=True, slots=True)
class _Contradiction:
    """A reference made of `own`, which refers to `aim` by a foreign key, and a key that is another column's."""

    own: Column
    aim: Column
    entity: str
    key: Origin
    certain: bool

    @property
    def key_told(self) -> str:
        return ", ".join(map(".".join, sorted(self.key.columns))) or "no column that can be told"

    def __str__(self) -> str:
        aim = f"which refers to {'.'.join(self.aim)} by a foreign key"
        return f"{'.'.join(self.own)}, {aim}; the key of {self.entity} is made of {self.key_told}"


def check_references(connection: sa.Connection, migration: Migration, entities: Sequence[str]) -> list[str]:
    """What is to be told of the references of some entities that is no certain fault, a line each.

    Raises DefinitionError that names every one that is: a plain column, where the key is a plain other one.
    """
    dialect = connection.dialect.name
    read = {*entities, *(aim for name in entities for aim in migration.specs[name].references)}
    queries = [migration.entities[name].query(dialect) for name in sorted(read)]
    queries += [one.sql for name in entities for one in _compared(migration, name)]
    try:
        schema, refers = foreign_keys(connection, queries)
    except SourceError as error:
        return [f"references are held against no foreign keys: {error.problem}"]
    judge = _Judge(migration, schema, refers)
    found = gathered(chain.from_iterable(judge.attempts(name) for name in entities)) if refers else []
    return [told for doubts in found for told in doubts]


def _compared(migration: Migration, name: str) -> Iterator[_Compared]:
    if (checks := migration.checks.entities.get(name)) is None:
        return
    for steps, check in places(checks):
        if check.compare == "reference" and check.sql and check.entity:
            further = check.further_sql if isinstance(check, Check) else []
            tables = check.tables if isinstance(check, ManyCheck) else checks.tables
            columns = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate([check.sql, *further]))
            told = f"the reference that the check {check.name} compares"
            yield _Compared(told, steps, check.entity, f"SELECT {columns} FROM {tables}")


@dataclass(frozen=True)
class _Judge:
    migration: Migration
    schema: LegacySchema
    refers: Refers
    _queries: dict[str, Query | None] = field(default_factory=dict)

    def attempts(self, name: str) -> Iterator[Callable[[], list[str]]]:
        """Of one entity's references: each gives its doubts, or raises DefinitionError for a fault that is certain."""
        mapping = self.migration.folder / "mappings" / f"{name}.py"
        checks = self.migration.folder / "checks" / f"{name}.yaml"
        written = written_references(mapping, self.migration.entities[name].key)
        yield from (partial(self._written, mapping, name, one) for one in written if one.columns)
        yield from (partial(self._of_check, checks, one) for one in _compared(self.migration, name))
        yield partial(self._unwritten, mapping, name, written)

    def _written(self, path: Path, name: str, written: WrittenReference) -> list[str]:
        query = self._query(name)
        made = [query.origin(column) for column in written.columns or ()] if query else []
        where = f"the SQL of {name}"
        return self._judged(path, written.line, f"the reference to {written.entity}", written.entity, made, where)

    def _of_check(self, path: Path, compared: _Compared) -> list[str]:
        query = read_query(self.schema, compared.sql)
        made = list(query.outputs.values()) if query else []
        line = line_of(path, compared.steps)
        return self._judged(path, line, compared.told, compared.entity, made, "the check's `from`")

    def _judged(
        self, path: Path, line: int | None, told: str, entity: str, made: Sequence[Origin], where: str
    ) -> list[str]:
        doubts = []
        for one in self._contradictions(entity, made):
            problem = f"{told} is made of {one}"
            if one.certain:
                remedy = f"Make {'.'.join(one.aim)} the key of {entity}, or take {one.key_told} by a JOIN in {where}."
                raise DefinitionError(path, line, f"{problem}, which may be another row's.", remedy)
            doubts.append(f"{_place(path, line)}: {problem}: look whether that is the same value")
        return doubts

    def _contradictions(self, entity: str, made: Sequence[Origin]) -> Iterator[_Contradiction]:
        query = self._query(entity)
        key = self.migration.entities[entity].key if entity in self.migration.entities else ()
        if query is None or len(made) != len(key):
            return
        for value, column in zip(made, key, strict=True):
            yield from self._against(value, entity, query, query.origin(column))

    def _against(self, value: Origin, entity: str, query: Query, key: Origin) -> Iterator[_Contradiction]:
        if key.columns & self._alike(value.columns, query):
            return
        for own in sorted(value.columns):
            for aim in sorted(self.refers.get(own, ())):
                if aim[0] in query.tables:
                    certain = value.plain and key.plain and {table for table, _ in key.columns} == {aim[0]}
                    yield _Contradiction(own, aim, entity, key, certain)

    def _alike(self, columns: frozenset[Column], query: Query) -> set[Column]:
        """All that holds the same values as `columns`, by foreign keys and by what a query joins of other columns."""
        pairs = [frozenset({own, aim}) for own, aims in self.refers.items() for aim in aims]
        pairs += [pair for pair in query.equal if not pair & columns]
        found, before = {*columns}, 0
        while len(found) > before:
            before = len(found)
            found |= {one for pair in pairs if pair & found for one in pair}
        return found

    def _unwritten(self, path: Path, name: str, written: Sequence[WrittenReference]) -> list[str]:
        """Of the entities to which the code does not say by which column it refers, and of which no check says it."""
        unsaid = {one.entity for one in written if not one.columns}
        unsaid |= {*self.migration.specs[name].references} - {one.entity for one in written}
        compared = {one.entity for one in _compared(self.migration, name)}
        query = self._query(name)
        return [
            f"{_place(path, None)}: no check compares the reference to {entity}, and which column it is made of cannot "
            f"be told: it would be wrong by {one}"
            for entity in sorted(unsaid - compared)
            for value in (query.outputs.values() if query else ())
            for one in self._by_its_own_table(entity, value)
        ]

    def _by_its_own_table(self, entity: str, value: Origin) -> Iterator[_Contradiction]:
        """What stands against a value that refers to a row of the very table that the key is of."""
        if (query := self._query(entity)) is None:
            return
        keys = [query.origin(column) for column in self.migration.entities[entity].key]
        key = Origin(frozenset[Column]().union(*(one.columns for one in keys)))
        for one in self._against(value, entity, query, key):
            if one.aim[0] in {table for table, _ in key.columns}:
                yield one

    def _query(self, entity: str) -> Query | None:
        """Of an entity; None where there is none, or no parser reads its SQL."""
        if entity not in self._queries:
            known = self.migration.entities.get(entity)
            self._queries[entity] = read_query(self.schema, known.query(self.schema.dialect)) if known else None
        return self._queries[entity]


def _place(path: Path, line: int | None) -> str:
    name = f"{path.parent.name}/{path.name}"
    return f"{name}:{line}" if line else name
