"""A migration as its engineer wrote it: plan, entities, mappings, code tables, checks, judged against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from medferry.definition.capture import CaptureRules, load_capture
from medferry.definition.check_keys import check_keys
from medferry.definition.checks import Declared
from medferry.definition.fingerprint import DefinitionFiles
from medferry.definition.gate import GateRules, load_gate
from medferry.definition.importing import (
    data_beside,
    installed_packages,
    local_modules,
    mapping_sources,
    mappings_package,
)
from medferry.definition.installed import Installed
from medferry.definition.inverses import check_deleted, check_inverse
from medferry.definition.load_checks import load_checks
from medferry.definition.lookups import check_tables_named
from medferry.definition.mapping_files import check_strays, load_spec
from medferry.definition.outline import check_order, migration_folder
from medferry.definition.planned import check_planned
from medferry.definition.words import source_words
from medferry.errors import DefinitionError, gathered
from medferry.fhir.elements import fault_in
from medferry.fhir.inactive import NOT_IN_USE
from medferry.fhir.merging import element_of
from medferry.fhir.one_value import whole
from medferry.fhir.resource_types import why_unfit
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import MappingSpec
from medferry.mapping.identity import Naming
from medferry.mapping.inverse import InverseSpec
from medferry.mapping.levels import load_levels
from medferry.mapping.terminology import CodeTable, load_code_table
from medferry.mapping.values import zone_of
from medferry.plan.load import line_of, load_plan
from medferry.plan.model import LeftoverPolicy, Plan
from medferry.source.entity import SourceEntity, load_entities


@dataclass(frozen=True)
class Migration:
    """Everything a run needs to know; immutable, and the same for every task of a run."""

    folder: Path
    plan: Plan
    entities: Mapping[str, SourceEntity]
    specs: Mapping[str, MappingSpec]
    inverses: Mapping[str, InverseSpec]
    """Of the entities whose resources have a way back."""
    tables: Mapping[str, CodeTable]
    checks: Declared
    capture: CaptureRules | None
    """How changes of the legacy rows are found; None for a migration that does not keep both systems in step."""
    gate: GateRules | None
    """Which unit a legacy row belongs to, by table; None for a migration whose units are never closed by gates."""
    fingerprint: str
    """SHA-256 over every file that can change a result as it was read, kept with each run and record as evidence."""
    files: DefinitionFiles
    words: frozenset[str] = field(repr=False)
    """The texts that stand in the source of its mappings, and of what they import from beside it."""

    @property
    def name(self) -> str:
        return self.plan.name

    @cached_property
    def naming(self) -> Naming:
        return Naming(self.plan.base, self.plan.name)

    @cached_property
    def settings(self) -> MappingSettings:
        source = self.plan.source
        return MappingSettings(
            self.naming,
            zone_of(source.time_zone),
            self.tables,
            self.specs,
            source.null_tokens,
            source.sentinel_dates,
            source.column_null_tokens,
            self.words,
        )

    @cached_property
    def levels(self) -> list[list[str]]:
        """Entities grouped so that each refers only to lower levels (or itself)."""
        return load_levels(self.specs)

    @cached_property
    def systems(self) -> dict[str, list[str]]:
        """The identifier systems of each entity's targets, one a slot."""
        return {name: [self.naming.system(name, slot) for slot in spec.produces] for name, spec in self.specs.items()}

    @cached_property
    def slots(self) -> list[tuple[str, str]]:
        """(identifier system, resource type) of all that is made, one a slot of each entity."""
        return [
            (self.naming.system(name, slot), resource_type)
            for name, spec in self.specs.items()
            for slot, resource_type in spec.produces.items()
        ]

    def referring_to(self, entity: str) -> list[str]:
        """The entities that refer to `entity`, and itself: the resources of a row may refer to each other."""
        return [name for name, spec in self.specs.items() if entity in spec.references or name == entity]

    def level_of(self, entity: str) -> int:
        return next(number for number, names in enumerate(self.levels) if entity in names)


def load_migration(name_or_folder: str | Path) -> Migration:
    """Read and cross-check a migration, by name under ``include/migrations`` or by folder.

    Raises DefinitionError (file, line, remedy) for all faults that do not hide each other. Touches no database.
    """
    folder = migration_folder(name_or_folder)
    before = DefinitionFiles(folder).fingerprint()
    plan, entities = _plan_and_entities(folder)
    package = mappings_package(plan.name, folder / "mappings")
    tables, specs, inverses = _tables_and_mappings(folder, package, plan, entities)
    gathered(
        [
            partial(_check_references, folder, specs),
            partial(_check_acceptance, folder, plan, set(specs)),
            partial(_check_leftovers, folder, plan, specs),
            partial(_check_authority, folder, plan, specs),
            partial(check_deleted, folder, plan, inverses),
            partial(_check_columns, folder, plan, entities),
            partial(_check_history, folder, plan, entities),
            partial(check_planned, folder, plan, set(entities)),
            partial(check_tables_named, folder, tables),
        ]
    )
    checks = load_checks(folder, specs, tables)
    capture, gate = load_capture(folder, entities), load_gate(folder, entities, plan.unit_ids)
    check_keys(folder, entities, checks)
    installed, mappings = Installed(), folder / "mappings"
    modules = local_modules(package, mappings, installed)
    packages = installed_packages(package, mappings, modules, installed)
    files = DefinitionFiles(folder, {**modules, **data_beside(modules)}, packages)
    if DefinitionFiles(folder).fingerprint() != before:
        raise DefinitionError(
            folder, None, "its files changed while they were read.", "Try again when they are complete."
        )
    words = source_words(mapping_sources(folder, modules))
    fingerprint = files.fingerprint()
    return Migration(folder, plan, entities, specs, inverses, tables, checks, capture, gate, fingerprint, files, words)


def _plan_and_entities(folder: Path) -> tuple[Plan, dict[str, SourceEntity]]:
    plans: list[Plan] = []
    entities: dict[str, SourceEntity] = {}
    gathered(
        [
            lambda: plans.append(load_plan(folder / "plan.yaml")),
            lambda: entities.update(load_entities(folder / "entities")),
        ]
    )
    return plans[0], entities


def _tables_and_mappings(
    folder: Path, package: str, plan: Plan, entities: Mapping[str, SourceEntity]
) -> tuple[dict[str, CodeTable], dict[str, MappingSpec], dict[str, InverseSpec]]:
    tables: dict[str, CodeTable] = {}
    specs: dict[str, MappingSpec] = {}
    inverses: dict[str, InverseSpec] = {}

    def load(name: str, entity: SourceEntity) -> None:
        path = folder / "mappings" / f"{name}.py"
        specs[name], module = load_spec(package, path)
        if inverse := check_inverse(path, entity, specs[name], module):
            inverses[name] = inverse

    attempts: list[Callable[[], None]] = [
        lambda: tables.update(_code_tables(folder, plan)),
        *(partial(load, name, entity) for name, entity in entities.items()),
        lambda: check_strays(folder / "mappings", set(entities)),
    ]
    gathered(attempts)
    return tables, specs, inverses


def _check_types(path: Path, spec: MappingSpec) -> None:
    """Every type can be kept, validated and found again, by the next run and by the verification."""
    for kind in sorted(spec.produces.values()):
        if unfit := why_unfit(kind):
            raise DefinitionError(path, 1, *unfit)


def _check_acceptance(folder: Path, plan: Plan, entities: set[str]) -> None:
    named = {*plan.acceptance.entities, *plan.acceptance.may_be_empty, *plan.acceptance.hashes_only}
    named |= {name.partition("/")[2] for name in plan.acceptance.may_be_set_aside}
    if unknown := sorted(named - entities):
        path = folder / "plan.yaml"
        problem = f"acceptance names the unknown entity {unknown[0] or '(none)'}."
        raise DefinitionError(
            path, line_of(path, ("acceptance",)), problem, "Correct the name: a group is unit/entity."
        )


def _check_authority(folder: Path, plan: Plan, specs: Mapping[str, MappingSpec]) -> None:
    """Each domain is of entities that are there, and of resource types that a mapping makes."""
    known = {*specs, *(kind for spec in specs.values() for kind in spec.produces.values())}
    for domain, members in plan.authority.domains.items():
        if unknown := sorted(set(members) - known):
            path = folder / "plan.yaml"
            problem = f"the domain {domain} names {unknown[0]}, which is no entity, and which no mapping produces."
            raise DefinitionError(path, line_of(path, ("authority", "domains", domain)), problem, "Correct the name.")
    for number, rule in enumerate(plan.authority.rules):
        members = plan.authority.domains[rule.domain]
        kinds = {kind for one in members for kind in (specs[one].produces.values() if one in specs else [one])}
        for element in (element for group in rule.fields for element in group.paths):
            _check_element(folder / "plan.yaml", number, element, sorted(kinds))


def _check_element(path: Path, number: int, element: str, kinds: Iterable[str]) -> None:
    """A policy is about no part of one value: one side's stands as a whole."""
    steps = tuple(element.split("."))
    for kind in kinds:
        value = element_of(whole(kind, steps))
        if value != element and fault_in(element, kind) is None:
            problem = f"authority has a policy for {element}, a part of the {value} of {kind}, which is one value."
            line = line_of(path, ("authority", "rules", number, "fields"))
            raise DefinitionError(path, line, problem, f"Name {value}: one side's stands as a whole.")


def _check_leftovers(folder: Path, plan: Plan, specs: Mapping[str, MappingSpec]) -> None:
    """What is to be inactivated has an element that says so."""
    for name, spec in specs.items():
        unknown = sorted(set(spec.produces.values()) - NOT_IN_USE.keys())
        if unknown and plan.leftovers_of(name) is LeftoverPolicy.INACTIVATE:
            path = folder / "plan.yaml"
            steps = ("entity_leftovers", name) if name in plan.entity_leftovers else ("leftovers",)
            raise DefinitionError(
                path,
                line_of(path, steps),
                f"leftovers of {name} are to be inactivated, and FHIR has no element that says so of a {unknown[0]}.",
                f"Give {name} another policy under entity_leftovers: report, keep or remove.",
            )


def _code_tables(folder: Path, plan: Plan) -> dict[str, CodeTable]:
    """Every ``terminology/*.csv``. Raises DefinitionError, also for a table that only the plan knows."""
    paths = {path.stem: path for path in sorted((folder / "terminology").glob("*.csv"))}
    if unknown := sorted(set(plan.case_sensitive_codes) - paths.keys()):
        line = line_of(folder / "plan.yaml", ("case_sensitive_codes",))
        problem = f"case_sensitive_codes names the unknown code table {unknown[0]}."
        raise DefinitionError(folder / "plan.yaml", line, problem, "Correct the name.")
    loads = [partial(load_code_table, path, name in plan.case_sensitive_codes) for name, path in paths.items()]
    return dict(zip(paths, gathered(loads), strict=True))


def _check_columns(folder: Path, plan: Plan, entities: Mapping[str, SourceEntity]) -> None:
    for column in plan.source.column_null_tokens:
        if column.partition(".")[0] not in entities:
            path, steps = folder / "plan.yaml", ("source", "column_null_tokens", column)
            problem = f"column_null_tokens names {column}, of no entity."
            raise DefinitionError(path, line_of(path, steps), problem, "Write <entity>.<column>.")


def _check_history(folder: Path, plan: Plan, entities: Mapping[str, SourceEntity]) -> None:
    """What is loaded by periods has a date."""
    for number, wave in enumerate(plan.waves):
        if wave.history is not None and not any(entity.dated for entity in entities.values()):
            path = folder / "plan.yaml"
            problem = f"wave {wave.id} is to be loaded by periods, and no entity has a date."
            remedy = "Add a line '-- dated: <column>' to the entities that have one."
            raise DefinitionError(path, line_of(path, ("waves", number, "history")), problem, remedy)


def _check_references(folder: Path, specs: Mapping[str, MappingSpec]) -> None:
    check_order(folder, specs)
    for name, spec in specs.items():
        _check_types(folder / "mappings" / f"{name}.py", spec)
