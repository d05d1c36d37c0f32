"""Each golden row becomes exactly its golden resources, which are valid FHIR R4."""

from __future__ import annotations

import pytest

from medferry.definition.migration import Migration
from medferry.fhir.validate import problems
from tests.clinics.golden import CASES, apply, load


@pytest.mark.parametrize("case", CASES)
def test_row_becomes_its_golden_resources(migration: Migration, case: str) -> None:
    golden = load(case)
    mapped = apply(migration, case.partition("/")[0], golden["row"])
    assert (mapped.disposition, mapped.reason, mapped.place) == ("pending", "", "")
    assert list(mapped.resources) == golden["resources"]
    assert [[finding.reason, finding.field] for finding in mapped.findings] == golden["findings"]
    assert [problems(resource) for resource in mapped.resources] == [[]] * len(golden["resources"])


def test_every_entity_and_slot_has_a_golden_resource(migration: Migration) -> None:
    shown = {(case.partition("/")[0], r["identifier"][0]["system"]) for case in CASES for r in load(case)["resources"]}
    promised = {
        (entity, migration.naming.system(entity, slot))
        for entity, spec in migration.specs.items()
        for slot in spec.produces
    }
    assert shown == promised


def test_mapping_is_deterministic_and_leaves_its_row_alone(migration: Migration) -> None:
    for case in CASES:
        row = load(case)["row"]
        before = dict(row)
        first, second = (apply(migration, case.partition("/")[0], row) for _ in range(2))
        assert first == second
        assert row == before
