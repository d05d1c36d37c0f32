"""Which unit each row of the legacy database belongs to: `gate.yaml`, judged against what the entities read.

    tables:
      appointments: clinic_id
      patients: CASE WHEN {row}.clinics > 1 THEN 'shared' ELSE {row}.home_clinic END
      notes: SELECT v.clinic_id FROM visits v WHERE v.visit_id = {row}.visit_id
    ungated:
      drug_codes: kept by the group, for all clinics

A unit is a column of the row that is written, an expression with `{row}`, or a SELECT that finds one.
docs/runbooks/gate.md tells what the gates do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import sqlglot
from pydantic import BaseModel, ConfigDict, Field
from sqlglot import exp
from sqlglot.errors import SqlglotError

from medferry.definition.capture import tables_read
from medferry.errors import DefinitionError
from medferry.plan.load import line_of, load_model
from medferry.source.changes.rules import KeyOf
from medferry.source.entity import SourceEntity
from medferry.source.gate.gate import Gated

FILE = "gate.yaml"


class GateRules(BaseModel):
    """`gate.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: dict[str, Annotated[str, Field(min_length=1)]]
    """Table → SQL of the unit of a row that is written."""
    ungated: dict[str, Annotated[str, Field(min_length=8)]] = {}
    """Table that may be written while any gate is closed → why."""

    def gated(self) -> Gated:
        return {table: KeyOf.of("", sql) for table, sql in self.tables.items()}


def load_gate(folder: Path, entities: Mapping[str, SourceEntity]) -> GateRules | None:
    """Read `gate.yaml` and judge it; None when the migration has none. Raises DefinitionError with file and line."""
    path = folder / FILE
    if not path.is_file():
        return None
    rules = load_model(path, GateRules)
    for steps, problem, remedy in _faults(rules, entities):
        raise DefinitionError(path, line_of(path, steps), problem, remedy)
    return rules


def _faults(rules: GateRules, entities: Mapping[str, SourceEntity]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(where in the file, what is wrong, what to do)."""
    named = {table.casefold() for table in (*rules.tables, *rules.ungated)}
    for entity in entities.values():
        for table in sorted(_read(entity) - named):
            remedy = "Name it under `tables` with the unit of a row, or under `ungated` with the reason."
            yield (), f"{entity.name} reads {table}, which is neither gated nor ungated.", remedy
    for table in sorted({*rules.tables} & {*rules.ungated}):
        yield ("ungated", table), f"{table} is gated and ungated.", "Remove one of them."
    for table, unit in rules.gated().items():
        if not unit.columns:
            yield ("tables", table), "the unit names no column of the row.", "Write a column, or {row}.column."
        elif not _is_one_column(unit):
            remedy = "Write a column, an expression, or a SELECT without LIMIT."
            yield ("tables", table), "the unit is no valid SQL of one value.", remedy


def _read(entity: SourceEntity) -> frozenset[str]:
    try:
        return tables_read(entity)
    except SqlglotError:  # what no parser reads must be named by who wrote it
        return frozenset()


def _is_one_column(unit: KeyOf) -> bool:
    text = unit.lookup(lambda _: "1") if unit.is_select else f"SELECT {unit.logged('changed')[0]}"
    try:
        parsed = sqlglot.parse_one(text)
    except SqlglotError:
        return False
    return isinstance(parsed, exp.Query) and len(parsed.selects) == 1 and not parsed.args.get("limit")
