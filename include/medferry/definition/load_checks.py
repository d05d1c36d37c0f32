"""Read the checks of a migration, and judge them by its mappings, its code tables and FHIR's elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from medferry.definition.checks import Check, Declared, EntityChecks, ManyCheck, places
from medferry.definition.tables import approved_table
from medferry.errors import DefinitionError, gathered
from medferry.fhir.elements import fault_in_all, is_concept
from medferry.mapping.declare import MappingSpec
from medferry.mapping.terminology import CodeTable
from medferry.plan.load import line_of, load_model


def load_checks(folder: Path, specs: Mapping[str, MappingSpec], tables: Mapping[str, CodeTable]) -> Declared:
    """Read `checks/*.yaml` of a migration's folder, and judge them by its mappings and code tables.

    Raises DefinitionError with file and line.
    """
    approved = {
        path.stem: approved_table(path, exact=tables[path.stem].exact)
        for path in sorted((folder / "terminology").glob("*.csv"))
    }
    found: dict[str, EntityChecks] = {}

    def load(path: Path) -> None:
        if path.suffix != ".yaml":
            raise DefinitionError(path, None, "it would not be read.", f"Name it {path.stem}.yaml.")
        if path.stem not in specs:
            raise DefinitionError(path, None, "it checks no entity.", "Name it after an entity, or remove it.")
        found[path.stem] = load_model(path, EntityChecks)
        _judge_names(path, found[path.stem], specs, tables)

    gathered(partial(load, path) for path in sorted((folder / "checks").glob("*.y*ml")))
    return Declared(found, approved)


def _judge_names(
    path: Path, checks: EntityChecks, specs: Mapping[str, MappingSpec], tables: Mapping[str, CodeTable]
) -> None:
    """Every resource, entity and code table that a file names is one of the migration's."""
    produces = specs[path.stem].produces
    if set(checks.resources) != set(produces):
        problem = f"its resources are not those of the mapping: {', '.join(sorted(produces))}."
        raise DefinitionError(path, line_of(path, ("resources",)), problem, "Name each once.")
    for steps, check in places(checks):
        types = [produces[str(steps[1])]] if steps[0] == "resources" else list(produces.values())
        problem = fault_in_all(check.path, types)
        if check.compare == "code":
            problem = problem or _wrong_end(check, types)
        if check.table and check.table not in tables:
            problem = f"the check {check.name} names the unknown code table {check.table}."
        if check.entity and check.slot not in getattr(specs.get(check.entity), "produces", {}):
            problem = f"the check {check.name} names the unknown entity or slot {check.entity}/{check.slot}."
        if problem:
            raise DefinitionError(path, line_of(path, steps), problem, "Correct the name.")


def _wrong_end(check: Check | ManyCheck, types: Iterable[str]) -> str:
    """Of one concept its codings are compared; of a list of concepts each, with the codings that are its own."""
    if isinstance(check, Check):
        whole = all(is_concept(check.path, kind) for kind in types)
        told = f"the check {check.name} compares a code with the whole CodeableConcept: add .coding to the path."
    else:
        concept, _, last = check.path.rpartition(".")
        whole = last == "coding" and all(is_concept(concept, kind) for kind in types)
        told = f"the list {check.name} has a concept for each row: leave .coding out of the path."
    return told if whole else ""
