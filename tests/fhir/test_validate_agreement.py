"""The fast pass against the models of fhir.resources: on everything that the migrations produce, whole and broken.

The models alone say what is valid. The fast pass must accept nothing that they refuse, and nearly all that they accept.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest
import sqlalchemy as sa
from fhir.resources.R4B import get_fhir_model_class
from pydantic_core import CoreSchema, core_schema

from demo_clinics.generate import fill
from medferry.definition.migration import Migration, load_migration
from medferry.fhir import fast_validate as fast
from medferry.fhir.validate import problems
from medferry.mapping.apply import apply_mapping
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.slices import rows_of
from tests.fhir.validate_breakages import changed, changes, places
from tests.synthea.sample import ARCHIVE, load_sample, reference_resources

Resource = dict[str, Any]

ROWS = 400
"""Rows of an entity at most: enough for every shape, and the models are slow."""

CLINICS = sorted({kind for spec in load_migration("clinics").specs.values() for kind in spec.produces.values()})
SYNTHEA = sorted({kind for spec in load_migration("synthea").specs.values() for kind in spec.produces.values()})


def accepted(resource: Any) -> bool:
    return fast.certainly_valid(get_fhir_model_class(resource["resourceType"]), resource)


def valid(resource: Any, resource_type: str) -> bool:
    """The models' verdict."""
    try:
        get_fhir_model_class(resource_type).model_validate(resource)
    except Exception:  # noqa: BLE001 - whatever the models stumble over they do not accept
        return False
    return True


@dataclass
class CheckRecorder:
    """What came of many resources."""

    accepted_wrongly: set[str] = field(default_factory=set)
    told_differently: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    """Kinds that the models refused at least once."""
    seen: int = 0

    def add(self, kind: str, resource: Any, resource_type: str, ask_models: bool) -> None:
        self.seen += 1
        passed = fast.certainly_valid(get_fhir_model_class(resource_type), resource)
        if not (passed or ask_models):
            return
        verdict = valid(resource, resource_type)
        if passed and not verdict:
            self.accepted_wrongly.add(kind)
        if not verdict:
            self.refused.add(kind)
        if (
            isinstance(resource, dict)
            and resource.get("resourceType") == resource_type
            and (problems(resource) == []) != verdict
        ):
            self.told_differently.add(kind)


def _resources(migration: Migration, engine: sa.Engine) -> Iterator[Resource]:
    units = migration.plan.unit_ids
    with snapshot(engine) as connection:
        for name, spec in migration.specs.items():
            entity = migration.entities[name]
            statement, values = rows_of(engine.dialect.name, entity, units, None, None)
            for row in islice(stream(connection, statement, values), ROWS):
                yield from apply_mapping(spec, row, entity.ledger_key_of(row), migration.settings).resources


@pytest.fixture(scope="module")
def clinics(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """What the mappings make of a small and dirty demo."""
    engine = connect_engine(f"sqlite:///{tmp_path_factory.mktemp('demo') / 'legacy.db'}")
    fill(engine, 11, 60, pace=4.0)
    return list(_resources(load_migration("clinics"), engine))


@pytest.fixture(scope="module")
def synthea(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Resource], list[Resource]]:
    """What the mappings make of the Synthea sample, and a part of the FHIR that Synthea itself wrote."""
    if not ARCHIVE.is_file():
        pytest.skip(f"the Synthea sample {ARCHIVE.name} is not in shared/data beside the repository")
    folder = tmp_path_factory.mktemp("synthea")
    sample = load_sample(folder, f"sqlite:///{folder / 'export.db'}")
    written = list(reference_resources(sample.output))
    return list(_resources(sample.migration, sample.engine)), random.Random(5).sample(written, 800)


def _assert_fast(resources: Iterable[Resource]) -> None:
    count: Counter[tuple[bool, bool]] = Counter()
    for resource in resources:
        passed, verdict = accepted(resource), valid(resource, resource["resourceType"])
        count[passed, verdict] += 1
        assert (problems(resource) == []) == verdict
    assert count[True, False] == 0
    assert count[True, True] >= 0.99 * (count[True, True] + count[False, True]) > 0


def test_what_the_clinics_mappings_produce_passes_at_once(clinics: list[Resource]) -> None:
    assert sorted({resource["resourceType"] for resource in clinics}) == CLINICS
    _assert_fast(clinics)


def test_what_the_synthea_mappings_produce_passes_at_once(synthea: tuple[list[Resource], list[Resource]]) -> None:
    assert sorted({resource["resourceType"] for resource in synthea[0]}) == SYNTHEA
    _assert_fast(synthea[0])


def test_what_synthea_wrote_passes_at_once(synthea: tuple[list[Resource], list[Resource]]) -> None:
    with_contained = {"ExplanationOfBenefit"}
    _assert_fast(resource for resource in synthea[1] if resource["resourceType"] not in with_contained)
    assert all(problems(resource) == [] for resource in synthea[1])


# -- broken on purpose ---------------------------------------------------------------------------------


def _chosen(resources: Iterable[Resource], resource_type: str) -> list[tuple[Resource, list[tuple[Any, ...]]]]:
    """Resources that together have every place which resources of the type have, and the places to try in each."""
    seen: set[tuple[Any, ...]] = set()
    chosen: dict[int, tuple[Resource, list[tuple[Any, ...]]]] = defaultdict(lambda: ({}, []))
    for number, resource in enumerate(resources):
        if resource["resourceType"] != resource_type or not accepted(resource):
            continue
        for path, _ in places(resource):
            shape = tuple(step for step in path if isinstance(step, str)), isinstance((path or ("",))[-1], int)
            if shape not in seen:
                seen.add(shape)
                chosen[number] = (resource, [*chosen[number][1], path])
    return list(chosen.values())


def _broken_everywhere(resources: Iterable[Resource], resource_type: str, every: int) -> CheckRecorder:
    """Every change at every place; the models are asked about what passes, and of the rest about one in `every`
    and each kind's first."""
    tally, dice, kinds = CheckRecorder(), random.Random(resource_type), set[str]()
    for resource, paths in _chosen(resources, resource_type):
        before = json.dumps(resource)
        for path, value in places(resource):
            if path in paths:
                for kind, new in changes(value):
                    ask_models = kind not in kinds or dice.randrange(every) == 0
                    tally.add(kind, changed(resource, path, new), resource_type, ask_models)
                    kinds.add(kind)
        assert json.dumps(resource) == before
    return tally


def _assert_agreement(tally: CheckRecorder) -> None:
    assert tally.accepted_wrongly == set()
    assert tally.told_differently == set()
    assert len(tally.refused) >= 40


@pytest.mark.parametrize("resource_type", CLINICS)
def test_nothing_broken_passes_of_the_clinics(clinics: list[Resource], resource_type: str) -> None:
    _assert_agreement(_broken_everywhere(clinics, resource_type, every=30))


@pytest.mark.parametrize("resource_type", SYNTHEA)
def test_nothing_broken_passes_of_synthea(synthea: tuple[list[Resource], list[Resource]], resource_type: str) -> None:
    _assert_agreement(_broken_everywhere(synthea[0], resource_type, every=30))


def test_nothing_broken_twice_passes(clinics: list[Resource]) -> None:
    tally, dice = CheckRecorder(), random.Random(3)
    for resource in dice.choices(clinics, k=600):
        kinds, broken = [], resource
        for _ in range(2):
            path, value = dice.choice([place for place in places(broken) if place[0]] or [((), broken)])
            kind, new = dice.choice(list(changes(value)))
            kinds.append(kind)
            broken = changed(broken, path, new)
        tally.add(", ".join(kinds), broken, resource["resourceType"], ask_models=True)
    assert tally.accepted_wrongly == tally.told_differently == set()
    assert tally.seen == 600


# -- faults planted in the fast pass -------------------------------------------------------------------


def _any_text() -> CoreSchema:
    return core_schema.str_schema(strict=True)


def _lenient_objects(patch: pytest.MonkeyPatch) -> None:
    strict: Any = core_schema.typed_dict_schema
    lenient = {"extra_behavior": "ignore"}
    patch.setattr(fast.core_schema, "typed_dict_schema", lambda fields, **more: strict(fields, **{**more, **lenient}))


PLANTED: dict[tuple[str, str], Callable[[pytest.MonkeyPatch], None]] = {
    ("30 February", "Patient"): lambda patch: patch.setitem(fast._NARROWED, fast.fhir.DateType, _any_text()),
    ("time without zone", "Condition"): lambda patch: patch.setitem(
        fast._NARROWED, fast.fhir.DateTimeType, _any_text()
    ),
    ("infinity", "MedicationRequest"): lambda patch: patch.setitem(
        fast._NARROWED, fast.fhir.DecimalType, core_schema.float_schema()
    ),
    ("space before", "Condition"): lambda patch: patch.setattr(fast, "_native", lambda _: _any_text()),
    ("missing element", "DocumentReference"): lambda patch: patch.setattr(fast, "_rules", lambda _: (frozenset(), [])),
    ("also onsetString", "Condition"): lambda patch: patch.setattr(fast, "_checked", lambda _: lambda value: value),
    ("unknown property", "Location"): _lenient_objects,
}
"""A kind of breakage of a type that the fast pass must be seen to accept once it has a certain fault."""


@pytest.mark.parametrize(("kind", "resource_type"), PLANTED)
def test_a_fault_in_the_fast_pass_is_found(
    clinics: list[Resource], kind: str, resource_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTED[kind, resource_type](monkeypatch)
    fast._validator.cache_clear()
    try:
        found = _broken_everywhere(clinics, resource_type, every=10**9)
    finally:
        fast._validator.cache_clear()
    assert kind in found.accepted_wrongly
