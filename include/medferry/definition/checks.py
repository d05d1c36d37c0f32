"""The checks of an entity: what its rows must look like in Medplum, said again and independently of the mapping.

`checks/<entity>.yaml` of a migration names the entity's own tables, and for each resource of a row SQL expressions over
them with the place in the resource (FHIRPath) where the value must be found. docs/runbooks/verify.md shows one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from medferry.errors import DefinitionError
from medferry.fhir.fhirpath import compiled
from medferry.mapping.declare import MappingSpec
from medferry.plan.load import line_of, load_model

MAIN = "main"

Comparator = Literal[
    "exact", "text", "number", "boolean", "quantity", "instant", "date", "code", "reference", "document", "absent"
]


def _checked(path: str) -> str:
    compiled(path)
    return path


FhirPath = Annotated[str, AfterValidator(_checked)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Part):
    """One value: where the legacy database has it, where the resource must have it, and what equal means.

    `sql` is an expression over the tables of `from`; `path` is FHIRPath with `%base`, the plan's identifier base.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    path: FhirPath
    compare: Comparator
    sql: str | None = None
    where: str | None = None
    """SQL condition: rows for which it does not hold are not compared."""
    unit: str | None = None
    """quantity: SQL of the unit's local code, read with the code table `table`."""
    table: str | None = None
    """quantity, code: name of the approved code table."""
    comparator: str | None = None
    """quantity: SQL of the expected FHIR comparator (`<`, `>`), or null."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """number, quantity: how far apart equal values may be; for quantities also across convertible units."""
    zone: str | None = None
    """instant: SQL of the IANA zone of the wall time; the plan's zone without."""
    plus_minutes: str | None = None
    """instant: SQL of minutes of real time that pass until the expected instant."""
    entity: str | None = None
    """reference: the entity whose key `sql` is."""
    slot: str = MAIN
    """reference: the slot of that entity."""
    media_type: str | None = None
    """document: SQL of the type."""
    as_text: bool = False
    """document: `sql` is a text, to be found in UTF-8; else it is a blob."""

    @model_validator(mode="after")
    def _fits_its_comparator(self) -> Self:
        needed = {"code": ("table",), "reference": ("entity",), "quantity": ("unit", "table")}
        for name in (*needed.get(self.compare, ()), *(() if self.compare == "absent" else ("sql",))):
            if getattr(self, name) is None:
                raise ValueError(f"a check that compares {self.compare} needs {name}")
        return self

    @property
    def title(self) -> str:
        """The name's family: documents are counted apart from other values."""
        return "document" if self.compare == "document" else "value"


class ResourceChecks(_Part):
    """The checks of one resource of a row. Rows for which the SQL condition `when` holds must have it, others not."""

    when: str = "1 = 1"
    checks: list[Check] = []


class EntityChecks(_Part):
    """`checks/<entity>.yaml`. `key`, `unit` and `period` are SQL expressions over `from`; `every` is for all resources.

    `lifetime` are FHIRPath expressions of dates that may not lie before the patient's birth, nor more than
    `days_after_death` after the death.
    """

    tables: Annotated[str, Field(alias="from")]
    key: str
    unit: str | None = None
    period: str | None = None
    lifetime: list[FhirPath] = []
    days_after_death: Annotated[int, Field(ge=0)] = 0
    every: list[Check] = []
    resources: Annotated[dict[str, ResourceChecks], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_stand_once(self) -> Self:
        for slot in self.resources:
            names = [check.name for check in self.checks(slot)]
            if len(set(names)) < len(names):
                raise ValueError(f"a check of {slot} stands twice")
        return self

    def checks(self, slot: str) -> list[Check]:
        """All checks of a slot's resources."""
        return [*self.every, *(self.resources[slot].checks if slot in self.resources else [])]


@dataclass(frozen=True)
class ApprovedTable:
    """A code table as its CSV says: local code, without outer blanks and case, → target (system, code) or None."""

    local: Mapping[str, tuple[str, str] | None]

    def target(self, code: str) -> tuple[str, str] | None:
        return self.local.get(code.strip().casefold())

    @cached_property
    def targets(self) -> frozenset[tuple[str, str]]:
        return frozenset(target for target in self.local.values() if target)


@dataclass(frozen=True)
class Declared:
    """All checks of a migration, and its approved code tables."""

    entities: Mapping[str, EntityChecks]
    tables: Mapping[str, ApprovedTable]


def load_checks(folder: Path, specs: Mapping[str, MappingSpec]) -> Declared:
    """Read `checks/*.yaml` and the code tables of a migration's folder, and judge them by its mappings.

    Raises DefinitionError with file and line.
    """
    tables = {path.stem: _table(path) for path in sorted((folder / "terminology").glob("*.csv"))}
    found: dict[str, EntityChecks] = {}
    for path in sorted((folder / "checks").glob("*.y*ml")):
        if path.suffix != ".yaml":
            raise DefinitionError(path, None, "it would not be read.", f"Name it {path.stem}.yaml.")
        if path.stem not in specs:
            raise DefinitionError(path, None, "it checks no entity.", "Name it after an entity, or remove it.")
        found[path.stem] = load_model(path, EntityChecks)
        _judge_names(path, found[path.stem], specs, tables)
    return Declared(found, tables)


def _judge_names(
    path: Path, checks: EntityChecks, specs: Mapping[str, MappingSpec], tables: Mapping[str, ApprovedTable]
) -> None:
    """Every resource, entity and code table that a file names is one of the migration's."""
    produces = specs[path.stem].produces
    if set(checks.resources) != set(produces):
        problem = f"its resources are not those of the mapping: {', '.join(sorted(produces))}."
        raise DefinitionError(path, line_of(path, ("resources",)), problem, "Name each once.")
    for steps, check in _places(checks):
        problem = ""
        if check.table and check.table not in tables:
            problem = f"the check {check.name} names the unknown code table {check.table}."
        if check.entity and check.slot not in getattr(specs.get(check.entity), "produces", {}):
            problem = f"the check {check.name} names the unknown entity or slot {check.entity}/{check.slot}."
        if problem:
            raise DefinitionError(path, line_of(path, steps), problem, "Correct the name.")


def _places(checks: EntityChecks) -> Iterator[tuple[tuple[int | str, ...], Check]]:
    """Each check of a file with the steps that lead to it."""
    for number, check in enumerate(checks.every):
        yield ("every", number), check
    for slot, resource in checks.resources.items():
        for number, check in enumerate(resource.checks):
            yield ("resources", slot, "checks", number), check


def _table(path: Path) -> ApprovedTable:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: (cell or "").strip() for name, cell in row.items()} for row in csv.DictReader(file)]
    return ApprovedTable(
        {
            row["local_code"].casefold(): (row["system"], row["code"]) if row["status"] == "approved" else None
            for row in rows
        }
    )
