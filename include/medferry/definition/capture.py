"""How changes of each entity are found: `capture.yaml` of a migration, judged against the entities' own SQL.

    static:
      drug_codes: replaced once a year, with a new load
    entities:
      patient:
        tables: {patients: patient_id, patient_addresses: patient_id}
      visit:
        tables:
          visits: visit_id
          patients: SELECT v.visit_id FROM visits v WHERE v.patient_id = {row}.patient_id
      lab_result: {method: sweep}

A key is a column of the changed row, an expression with `{row}`, or a SELECT that finds any number of keys by
columns of it; a key of several columns is a list, or a SELECT of as many. docs/runbooks/capture.md tells which to
choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import sqlglot
from pydantic import BaseModel, ConfigDict, Field
from sqlglot import exp
from sqlglot.errors import SqlglotError

from medferry.errors import DefinitionError
from medferry.plan.load import line_of, load_model
from medferry.source.changes.rules import CaptureMethod, KeyOf, KeySql, Watched, watched
from medferry.source.dialects import VARIANTS
from medferry.source.entity import SourceEntity

FILE = "capture.yaml"

Sql = Annotated[str, Field(min_length=1)]
Reason = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EntityCapture(_Part):
    """How changes of one entity are found."""

    method: CaptureMethod = CaptureMethod.LOG
    tables: dict[str, Sql | Annotated[list[Sql], Field(min_length=1)]] = {}
    """Table → SQL of the entity's key for a changed row: of each of its columns, or one SELECT of all."""
    also: dict[str, Sql] = {}
    """Table → SELECT of further records that a changed row belongs to, beside the one of `tables`."""
    static: dict[str, Reason] = {}
    """Table that this entity reads and whose changes do not matter to it → why."""


class CaptureRules(_Part):
    """`capture.yaml`."""

    static: dict[str, Reason] = {}
    """Table whose changes matter to no entity → why."""
    entities: dict[str, EntityCapture]

    def watched(self) -> Watched:
        """What the triggers have to log."""
        keys = watched({name: entity.tables for name, entity in self.entities.items()})
        further = watched({name: entity.also for name, entity in self.entities.items()})
        return {table: (*keys.get(table, ()), *further.get(table, ())) for table in sorted({*keys, *further})}

    def by_method(self, method: CaptureMethod) -> list[str]:
        return [name for name, entity in self.entities.items() if entity.method is method]


def load_capture(folder: Path, entities: Mapping[str, SourceEntity]) -> CaptureRules | None:
    """Read `capture.yaml` and judge it; None when the migration has none. Raises DefinitionError with file and line."""
    path = folder / FILE
    if not path.is_file():
        return None
    rules = load_model(path, CaptureRules)
    for steps, problem, remedy in _faults(rules, entities):
        raise DefinitionError(path, line_of(path, steps), problem, remedy)
    return rules


Told = tuple[tuple[str, ...], str, str]
"""Where in the file, what is wrong, what to do."""


def _faults(rules: CaptureRules, entities: Mapping[str, SourceEntity]) -> Iterator[Told]:
    for name in entities:
        if name not in rules.entities:
            remedy = "Name its tables, or write `method: sweep`."
            yield ("entities",), f"it does not say how changes of {name} are found.", remedy
    for name, capture in rules.entities.items():
        place = ("entities", name)
        if name not in entities:
            yield place, f"there is no entity {name}.", f"Name one of {', '.join(sorted(entities))}."
        elif capture.method is CaptureMethod.SWEEP:
            if capture.tables:
                yield place, f"{name} is swept, so its tables log nothing.", "Remove `tables`, or the method."
        else:
            yield from _coverage(place, entities[name], capture, rules.static)
            for table, sql in capture.tables.items():
                if told := _key_fault(KeyOf.of(name, sql), len(entities[name].key)):
                    yield (*place, "tables", table), *told
            for table, sql in capture.also.items():
                if told := _further_fault(KeyOf.of(name, sql), capture.tables.get(table), len(entities[name].key)):
                    yield (*place, "also", table), *told


def _coverage(
    place: tuple[str, ...], entity: SourceEntity, capture: EntityCapture, static: Mapping[str, str]
) -> Iterator[Told]:
    """Every table that the entity reads is captured or static, and no other is named."""
    try:
        read = tables_read(entity)
    except SqlglotError:
        yield place, f"the SQL of {entity.name} cannot be read by a parser.", "Write `method: sweep` for it."
        return
    named = {table.casefold() for table in (*capture.tables, *capture.static)}
    for table in sorted(read - named - {table.casefold() for table in static}):
        remedy = "Name it under `tables` with the key, or under `static` with the reason why its changes do not matter."
        yield place, f"{entity.name} reads {table}, which is neither captured nor static.", remedy
    for kind, tables in (("tables", capture.tables), ("static", capture.static)):
        for table in tables:
            if table.casefold() not in read:
                yield (*place, kind, table), f"{entity.name} does not read {table}.", "Correct the name, or remove it."


def _key_fault(key: KeyOf, columns: int) -> tuple[str, str] | None:
    """What is wrong with the SQL of a key of so many columns."""
    if not key.columns:
        return "the key names no column of the changed row.", "Write the column, or an expression with {row}.column."
    try:
        text = key.lookup(lambda _: "1") if key.is_select else f"SELECT {', '.join(key.logged('changed'))}"
        parsed = parsed_by_any(text, ("", *VARIANTS.values()))
    except SqlglotError:
        return "the key is not valid SQL.", "Write a column, an expression or a SELECT."
    selected = parsed.selects if isinstance(parsed, exp.Query) else []
    if len(selected) != columns and not any(isinstance(one, exp.Star) for one in selected):
        remedy = "Write a list of its columns in the entity's order, or one SELECT of all of them."
        return f"the key of {key.entity} has {columns} column(s), this gives {len(selected)}.", remedy
    return None


def _further_fault(key: KeyOf, beside: KeySql | None, columns: int) -> tuple[str, str] | None:
    if beside is None or KeyOf.of(key.entity, beside).is_select:
        return "it stands beside no key of a changed row.", "Name the table under `tables`, with a column as the key."
    if not key.is_select:
        return "further records are found by a SELECT.", "Write one, or move it to `tables`."
    return _key_fault(key, columns)


def tables_read(entity: SourceEntity) -> frozenset[str]:
    """Every table that any variant of the entity's query reads, in lower case. Raises SqlglotError."""
    found = _tables(entity.sql, ("", *VARIANTS.values()))
    for dialect, sql in entity.variants.items():
        found |= _tables(sql, (VARIANTS[dialect],))
    return frozenset(found)


def tables_called(sql: str, dialect: str, folds: bool, portable: bool = False) -> set[tuple[str, ...]]:
    """Every table that a query reads, in the parts of its name as the engine calls it. Raises SqlglotError.

    `folds`: whether the engine puts what is not quoted into lower case; else a name is kept as its table was made.
    `portable`: it may be read as another engine's, where `dialect` has no parser for it.
    """
    return {
        tuple(part.name.lower() if folds and not part.args.get("quoted") else part.name for part in table.parts)
        for table in _named(parsed_by_any(sql, (dialect, "", *VARIANTS.values()) if portable else (dialect,)))
    }


def _tables(sql: str, dialects: tuple[str, ...]) -> set[str]:
    return {".".join(part.name for part in table.parts).casefold() for table in _named(parsed_by_any(sql, dialects))}


def parsed_by_any(sql: str, dialects: Sequence[str]) -> exp.Expr:
    """By the first of some dialects that reads it: portable SQL is written for several. Raises SqlglotError."""
    *others, last = dialects
    for dialect in others:
        with suppress(SqlglotError):
            return sqlglot.parse_one(sql, dialect=dialect)
    return sqlglot.parse_one(sql, dialect=last)


def _named(parsed: exp.Expr) -> Iterator[exp.Table]:
    """The tables that a query names: not what it gives a name by itself."""
    aliases = {cte.alias.casefold() for cte in parsed.find_all(exp.CTE)}
    for table in parsed.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and not (len(table.parts) == 1 and table.name.casefold() in aliases):
            yield table
