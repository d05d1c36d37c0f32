"""Parity with the FHIR that Synthea itself wrote for ten of the sample's eleven patients, to the last leaf."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy

import pytest

from medferry.definition.outline import MIGRATIONS_FOLDER
from tests.synthea.parity import Difference, compare, judge, load_accepted
from tests.synthea.sample import Resource, Sample, reference_resources

REGISTER = MIGRATIONS_FOLDER / "synthea" / "differences.csv"
ONE_SIDED = "*"


@pytest.fixture(scope="module")
def theirs(sample: Sample) -> list[Resource]:
    return list(reference_resources(sample.output))


@pytest.fixture(scope="module")
def ours(sample: Sample, theirs: list[Resource]) -> list[Resource]:
    """Our resources of the patients that the reference has, and those of no patient."""
    known = {resource["id"] for resource in theirs if resource["resourceType"] == "Patient"}
    mapped = [row for entity in sample.migration.entities for row in sample.mapped(entity)]
    resources = [resource for row in mapped for resource in row.resources]
    return [resource for resource in resources if patient_of(resource) in {*known, None}]


def patient_of(resource: Resource) -> str | None:
    """The UUID of a resource's patient, on either side."""
    if resource["resourceType"] == "Patient":
        return str(resource.get("id") or resource["identifier"][0]["value"])
    for name in ("subject", "patient", "beneficiary"):
        if name in resource:
            return str(resource[name]["reference"]).rpartition("|")[2].removeprefix("urn:uuid:")
    return None


def test_counts_agree_per_patient_and_type(ours: list[Resource], theirs: list[Resource]) -> None:
    one_sided = {line.difference.type for line in load_accepted(REGISTER) if line.difference.field == ONE_SIDED}
    left, right = (
        Counter((patient_of(r), r["resourceType"]) for r in side if r["resourceType"] not in one_sided)
        for side in (ours, theirs)
    )
    assert left == right
    assert len({patient for patient, _ in left if patient}) == 10
    totals = Counter(r["resourceType"] for r in ours)
    assert totals["Encounter"] == 317 and totals["Observation"] == 1384 and totals["Procedure"] == 689


def test_every_difference_is_registered_and_every_registered_one_occurs(
    sample: Sample, ours: list[Resource], theirs: list[Resource]
) -> None:
    complaints = judge(compare(ours, theirs, sample.migration.plan.base), load_accepted(REGISTER))
    assert not complaints, "\n".join(complaints)


def test_the_register_of_differences_is_whole() -> None:
    lines = load_accepted(REGISTER)
    assert len({line.difference for line in lines}) == len(lines)
    for line in lines:
        assert line.reason and line.owner and line.expected > 0, line


def first(resources: list[Resource], resource_type: str, element: str) -> Resource:
    return next(r for r in resources if r["resourceType"] == resource_type and element in r)


def swap_patient(resources: list[Resource]) -> None:
    condition = first(resources, "Condition", "subject")
    others = (r["subject"] for r in resources if r["resourceType"] == "Condition")
    condition["subject"] = next(other for other in others if other != condition["subject"])


def shift_onset(resources: list[Resource]) -> None:
    first(resources, "Condition", "onsetDateTime")["onsetDateTime"] = "1999-01-01"


def shift_end(resources: list[Resource]) -> None:
    period = first(resources, "Encounter", "period")["period"]
    period["end"] = period["end"].replace("+00:00", "-05:00")


def change_value(resources: list[Resource]) -> None:
    first(resources, "Observation", "valueQuantity")["valueQuantity"]["value"] += 1


def change_component(resources: list[Resource]) -> None:
    """Exchange systolic and diastolic pressure."""
    low, high = next(r for r in resources if len(r.get("component", [])) == 2)["component"]
    low["valueQuantity"], high["valueQuantity"] = high["valueQuantity"], low["valueQuantity"]


def change_category(resources: list[Resource]) -> None:
    first(resources, "AllergyIntolerance", "code")["category"] = ["food"]


def change_organization(resources: list[Resource]) -> None:
    encounters = [r for r in resources if r["resourceType"] == "Encounter"]
    other = next(e for e in encounters if e["serviceProvider"] != encounters[0]["serviceProvider"])
    encounters[0]["serviceProvider"] = other["serviceProvider"]


def lose_one(resources: list[Resource]) -> None:
    resources.remove(first(resources, "Immunization", "vaccineCode"))


def load_twice(resources: list[Resource]) -> None:
    resources.append(deepcopy(first(resources, "Procedure", "code")))


def lose_reason(resources: list[Resource]) -> None:
    del first(resources, "MedicationRequest", "reasonCode")["reasonCode"]


def invent_a_status(resources: list[Resource]) -> None:
    first(resources, "Condition", "code")["severity"] = {"text": "Severe"}


FAULTS = [
    swap_patient,
    shift_onset,
    shift_end,
    change_value,
    change_component,
    change_category,
    change_organization,
    lose_one,
    load_twice,
    lose_reason,
    invent_a_status,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(
    fault: Callable[[list[Resource]], None], sample: Sample, ours: list[Resource], theirs: list[Resource]
) -> None:
    spoilt = deepcopy(ours)
    fault(spoilt)
    complaints = judge(compare(spoilt, theirs, sample.migration.plan.base), load_accepted(REGISTER))
    assert complaints


def test_a_registered_difference_that_is_gone_is_found(
    sample: Sample, ours: list[Resource], theirs: list[Resource]
) -> None:
    mended = deepcopy(ours)
    for resource in mended:
        if resource["resourceType"] == "Immunization":
            resource["primarySource"] = True
    complaints = judge(compare(mended, theirs, sample.migration.plan.base), load_accepted(REGISTER))
    assert complaints == ["registered 109 × Immunization primarySource missing, found 0"]


def test_a_field_line_does_not_cover_another_kind() -> None:
    found = {Difference("Condition", "category.coding.code", "different"): 1}
    accepted = [line for line in load_accepted(REGISTER) if line.difference[:2] == ("Condition", "category")]
    complaints = judge(found, accepted)
    assert complaints[0] == "not registered: 1 × Condition category.coding.code different"
