"""Judge the inverse of a mapping: by the mapping, by the entity's SQL, and by the legacy database where one is set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import sqlalchemy as sa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from medferry.definition.births import Told, births_faults, births_faults_in_legacy
from medferry.errors import DefinitionError
from medferry.mapping.declare import MappingSpec
from medferry.mapping.inverse import InverseSpec
from medferry.plan.load import line_of
from medferry.plan.model import DeletedPolicy, Plan
from medferry.source.columns import column_types
from medferry.source.dialects import VARIANTS
from medferry.source.entity import SourceEntity
from medferry.source.legacy_table import LegacyTable
from medferry.source.slices import entity_rows
from medferry.source.table_engines import without_transactions
from medferry.source.write_transaction import why_not


def check_inverse(path: Path, entity: SourceEntity, spec: MappingSpec, module: ModuleType) -> InverseSpec | None:
    """The inverse that a mapping's module declares; None without one. Raises DefinitionError."""
    found = [value for value in vars(module).values() if isinstance(value, InverseSpec)]
    if not found:
        return None
    if len(found) > 1 or found[0].entity != spec.entity:
        raise DefinitionError(
            path,
            None,
            f"an inverse without its mapping: it may hold one inverse, of {spec.entity}.",
            f"Decorate one function with @inverse(entity={spec.entity!r}, …), beside the mapping.",
        )
    for problem, remedy in _faults(entity, found[0]):
        raise DefinitionError(path, _line(found[0]), problem, remedy)
    return found[0]


def _line(inverse: InverseSpec) -> int | None:
    code = getattr(inverse.function, "__code__", None)
    return code.co_firstlineno if code else None


def _faults(entity: SourceEntity, inverse: InverseSpec) -> Iterator[Told]:
    if not inverse.tables:
        yield "the inverse names no table.", "Name the entity's own table first: tables=(legacy_table(…),)."
        return
    if inverse.tables[0].optional:
        yield f"the entity's own table {inverse.tables[0].name} is optional.", "Name the table of its key first."
    columns = [column for table in inverse.tables for column in table.columns]
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        yield f"the column {twice[0]} is in two tables.", "Leave it to the one that the entity's SQL reads it from."
    read = columns_read(entity)
    for table in inverse.tables:
        if not table.key:
            yield f"the table {table.name} has no key.", "Name the columns that find the entity's row in it."
        for column in (*table.key.values(), *table.columns):
            if read is not None and column.casefold() not in read:
                yield f"the SQL of {entity.name} gives no column {column}.", "Correct the name, or select it."
        if keyed := sorted(set(table.columns) & {*entity.key, entity.unit}):
            yield f"the inverse would change {keyed[0]}, which names the row or its unit.", "Leave it out."
    if inverse.births:
        yield from births_faults(entity, inverse.tables[0], inverse.births, read)


def columns_read(entity: SourceEntity) -> frozenset[str] | None:
    """The columns of an entity's rows, in lower case; None where only the database knows them (``*``)."""
    for dialect in VARIANTS.values():
        try:
            parsed = sqlglot.parse_one(entity.sql, dialect=dialect)
        except SqlglotError:
            continue
        selects = parsed.named_selects if isinstance(parsed, exp.Query) else ["*"]
        return None if "*" in selects else frozenset(name.casefold() for name in selects)
    return None


def faults_in_legacy(connection: sa.Connection, entity: SourceEntity, inverse: InverseSpec) -> Iterator[Told]:
    """What of an inverse the legacy database contradicts: tables, columns, and columns of another type."""
    dialect = connection.dialect.name
    if told := why_not(dialect):
        yield told
        return
    for name, engine in without_transactions(connection, [table.name for table in inverse.tables]).items():
        problem = f"the table {name} is of the engine {engine}: what is refused half-way would stay in it."
        yield problem, f"Have the DBA run ALTER TABLE {name} ENGINE=InnoDB."
    row = column_types(connection, entity_rows(dialect, entity))
    if inverse.births and sa.inspect(connection).has_table(*reversed(inverse.tables[0].name.split(".")[-2:])):
        yield from births_faults_in_legacy(connection, inverse.tables[0], inverse.births)
    for table in inverse.tables:
        quoted = sa.text(connection.dialect.identifier_preparer.quote(table.name))
        if not sa.inspect(connection).has_table(*reversed(table.name.split(".")[-2:])):
            yield f"the legacy database has no table {table.name}.", "Correct the name in the inverse's tables."
            continue
        types = {name.casefold(): kind for name, kind in column_types(connection, quoted).items()}
        yield from _column_faults(table, types, row)


def _column_faults(table: LegacyTable, types: Mapping[str, object], row: Mapping[str, object]) -> Iterator[Told]:
    marks = [name for name in (table.touched, table.removed) if name]
    for name in (*table.key, *table.columns.values(), *table.only, *table.new, *marks):
        if name.casefold() not in types:
            yield f"the table {table.name} has no column {name}.", "Correct the name in the inverse's tables."
    for of_row, of_table in table.columns.items():
        held = types.get(of_table.casefold())
        if of_table.casefold() in types and of_row in row and row[of_row] != held:
            problem = f"{of_row} has another type in the row of the entity than {table.name}.{of_table}."
            yield problem, "Select the table's own column, without a cast."


def takes_births(inverses: Mapping[str, InverseSpec]) -> bool:
    """Whether rows are inserted for what users create in Medplum."""
    return any(inverse.births for inverse in inverses.values())


def check_deleted(folder: Path, plan: Plan, inverses: Mapping[str, InverseSpec]) -> None:
    """What is removed for a deletion in Medplum has a way back, and a mark to be inactivated by."""
    path = folder / "plan.yaml"
    for name, policy in plan.deleted_in_medplum.items():
        line = line_of(path, ("deleted_in_medplum", name))
        if name not in inverses:
            problem = f"deleted_in_medplum names {name}, which has no inverse."
            raise DefinitionError(path, line, problem, "Correct the name, or write its @inverse.")
        if policy is DeletedPolicy.INACTIVATE and not inverses[name].tables[0].removed:
            problem = f"rows of {name} are to be inactivated, and its own table names no column `removed`."
            raise DefinitionError(path, line, problem, "Name it in the inverse's legacy_table(…, removed=…).")
