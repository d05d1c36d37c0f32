"""Which unit each row of the legacy database belongs to: `gate.yaml`, judged against what the entities read.

    tables:
      appointments: clinic_id
      patients: CASE WHEN {row}.clinics > 1 THEN 'shared' ELSE {row}.home_clinic END
      notes: SELECT v.clinic_id FROM visits v WHERE v.visit_id = {row}.visit_id
    ungated:
      drug_codes: kept by the group, for all clinics
    medplum:
      longest_request: 60
      policies:
        - policy: 0c9b0a6e-58b5-4f5c-9f0e-6b8f4cb1a001
          unit: harbor
          probe: harbor_desk
          creates: {resourceType: Patient, managingOrganization: {reference: Organization/…}}

A unit is a column of the row that is written, an expression with `{row}`, or a SELECT that finds one.
docs/runbooks/gate.md tells what the gates do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlglot import exp
from sqlglot.errors import SqlglotError

from medferry.definition.capture import parsed_by_any, tables_read
from medferry.errors import DefinitionError
from medferry.plan.load import line_of, load_model
from medferry.source.changes.rules import KeyOf
from medferry.source.dialects import VARIANTS
from medferry.source.entity import SourceEntity
from medferry.source.gate.gate import Gated

FILE = "gate.yaml"

PROBE = "gate-probe"
"""The code of the tag on what a probe creates; its system is the migration's own."""


def tag_system(base: str) -> str:
    """The system of the tags by which gates know what is theirs in Medplum; `base` is the plan's."""
    return f"{base}/gate"


def is_probe(resource: Mapping[str, Any], base: str) -> bool:
    """Whether a probe has created it: nobody's record, and deleted at once."""
    return {"system": tag_system(base), "code": PROBE} in resource.get("meta", {}).get("tag", [])


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PolicyRule(_Part):
    """An AccessPolicy of users of a unit in Medplum, in which they may write once the unit is in Medplum."""

    policy: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    """Its id."""
    unit: str
    criteria: str = ""
    """Only the entries are the unit's whose criteria hold this text; empty: all. For a policy of several units."""
    probe: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    """The name of a user under the policy, as whom it is tried whether writing is refused."""
    creates: dict[str, Any]
    """A harmless resource that this user may create while the policy lets them write, and only then."""

    @model_validator(mode="after")
    def _creates_a_resource(self) -> Self:
        if not self.creates.get("resourceType") or "id" in self.creates:
            raise ValueError("creates must be a resource: with its resourceType, without an id")
        return self


class MedplumGateRules(_Part):
    """Medplum's side of the gates."""

    longest_request: Annotated[float, Field(gt=0)] = 60.0
    """Seconds. No request is at work in Medplum for longer: a policy stops none that has begun."""
    policies: Annotated[list[PolicyRule], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        pairs = [(rule.policy, rule.unit) for rule in self.policies]
        if len(set(pairs)) != len(pairs):
            raise ValueError("a policy stands twice for a unit")
        for rule in self.policies:
            if not rule.criteria and any(one.policy == rule.policy and one.unit != rule.unit for one in self.policies):
                raise ValueError(f"the policy {rule.policy} is of several units: each needs its criteria")
        return self

    def of_unit(self, unit: str) -> list[PolicyRule]:
        return [rule for rule in self.policies if rule.unit == unit]


class GateRules(_Part):
    """`gate.yaml`."""

    tables: dict[str, Annotated[str, Field(min_length=1)]]
    """Table → SQL of the unit of a row that is written."""
    ungated: dict[str, Annotated[str, Field(min_length=8)]] = {}
    """Table that may be written while any gate is closed → why."""
    medplum: MedplumGateRules | None = None
    """Without it no unit can be moved to Medplum by `medferry cutover`."""

    @property
    def probes(self) -> list[str]:
        """The names of the probes."""
        return sorted({rule.probe for rule in self.medplum.policies}) if self.medplum else []

    def gated(self) -> Gated:
        return {table: KeyOf.of("", sql) for table, sql in self.tables.items()}


def load_gate(folder: Path, entities: Mapping[str, SourceEntity], units: Collection[str]) -> GateRules | None:
    """Read `gate.yaml` and judge it; None when the migration has none. Raises DefinitionError with file and line."""
    path = folder / FILE
    if not path.is_file():
        return None
    rules = load_model(path, GateRules)
    for steps, problem, remedy in (*_faults(rules, entities), *_strays(rules, units)):
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


def _strays(rules: GateRules, units: Collection[str]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for rule in rules.medplum.policies if rules.medplum else ():
        if rule.unit not in units:
            yield ("medplum", "policies"), f"the plan has no unit {rule.unit}.", f"Its units: {', '.join(units)}."


def _read(entity: SourceEntity) -> frozenset[str]:
    try:
        return tables_read(entity)
    except SqlglotError:  # what no parser reads must be named by who wrote it
        return frozenset()


def _is_one_column(unit: KeyOf) -> bool:
    text = unit.lookup(lambda _: "1") if unit.is_select else f"SELECT {unit.logged('changed')[0]}"
    try:
        parsed = parsed_by_any(text, ("", *VARIANTS.values()))
    except SqlglotError:
        return False
    return isinstance(parsed, exp.Query) and len(parsed.selects) == 1 and not parsed.args.get("limit")
