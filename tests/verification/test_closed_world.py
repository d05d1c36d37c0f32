"""Nothing may stand in a resource that nobody answers for: planted one by one, each is named by key and path."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from medferry.definition.checks import EntityChecks, ManyCheck
from medferry.definition.tables import ApprovedTable
from medferry.runtime.environment import Environment
from medferry.verification.closed_world import NOT_BY_RULE, ClosedWorld
from medferry.verification.constancy import MISSING, NOT_AS_OTHERS, NOT_EXPECTED, Witness
from medferry.verification.coverage import NOTHING_ELSE
from medferry.verification.declared import constant_faults, list_fault
from medferry.verification.derived import DerivedValues
from medferry.verification.ownership import Owner, SlotOwnership
from tests.verification.conftest import RUN
from tests.verification.world import open_world
from tests.workflows.test_migrate import migrate

BASE = "https://b.example"
LOCAL = f"{BASE}/CodeSystem/test"
TABLE = ApprovedTable(
    {"hb": ("http://loinc.org", "718-7")},
    {("http://loinc.org", "718-7"): frozenset({"Hemoglobin"})},
    {"hb": "haemoglobin"},
)
CHECKS = EntityChecks.model_validate(
    {
        "from": "t",
        "key": "id",
        "resources": {
            "main": {
                "checks": [
                    {"name": "code", "sql": "code", "path": "code.coding", "compare": "code", "table": "test"},
                    {"name": "value", "sql": "value", "path": "valueQuantity.value", "compare": "number"},
                    {"name": "who", "sql": "who", "path": "subject", "compare": "reference", "entity": "t"},
                ],
                "by_hash": {"note": "Free words, put together from several columns."},
            }
        },
    }
)


def observation(number: int) -> dict[str, Any]:
    """As a mapping makes them: status, category and unit are the same in all."""
    return {
        "resourceType": "Observation",
        "id": str(number),
        "meta": {"versionId": "1", "source": f"{BASE}/t", "tag": [{"system": "urn:medferry:migration", "code": "m"}]},
        "identifier": [{"system": f"{BASE}/t", "value": str(number)}],
        "status": "final",
        "category": [{"coding": [{"system": "urn:categories", "code": "laboratory"}]}],
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin"},
                {"system": LOCAL, "code": "HB", "display": "haemoglobin"},
            ],
            "text": "haemoglobin",
        },
        "subject": {"reference": f"Patient/{number}", "type": "Patient"},
        "note": [{"text": f"note {number}"}],
        "valueQuantity": {"value": number, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    }


def judged(resources: list[dict[str, Any]]) -> tuple[list[tuple[str, str, str]], ClosedWorld]:
    """(key, path, kind) of what is found, without the type before the path."""
    found: list[tuple[str, str, str]] = []

    def report(whose: Witness, path: str, kind: str) -> None:
        found.append((whose.key, path.partition(".")[2], kind))

    owners = SlotOwnership(CHECKS, "main", f"{BASE}/t", BASE)
    world = ClosedWorld("Observation", DerivedValues(BASE, {"test": TABLE}), report)
    for resource in resources:
        witness = Witness(resource["id"], f"Observation/{resource['id']}")
        world.examine(resource, owners.owned(resource, None), witness, True)
    world.finish()
    return found, world


def test_of_what_is_as_it_must_be_nothing_is_told_and_every_leaf_is_accounted_for() -> None:
    found, world = judged([observation(number) for number in range(5)])
    assert found == []
    # By value: two codes with their systems, the value, the patient. By rule: type, id, source, tag, identifier,
    # displays, text, type of the reference. By hash: status, category, unit, note.
    assert world.leaves == {Owner.VALUE: 5 * 6, Owner.RULE: 5 * 11, Owner.HASH: 5 * 7}


def test_of_a_resource_that_was_not_compared_the_values_are_proven_by_hash() -> None:
    owners = SlotOwnership(CHECKS, "main", f"{BASE}/t", BASE)
    world = ClosedWorld("Observation", DerivedValues(BASE, {}), lambda *_: None)
    resource = observation(1)
    world.examine(resource, owners.owned(resource, None), Witness("1", "Observation/1"), False)
    assert Owner.VALUE not in world.leaves


PLANTED: list[tuple[Callable[[dict[str, Any]], Any], str, str]] = [
    (lambda r: r.update(status="amended"), "status", NOT_AS_OTHERS),
    (lambda r: r.pop("status"), "status", MISSING),
    (lambda r: r.update(interpretation=[{"text": "high"}]), "interpretation", NOT_EXPECTED),
    (lambda r: r.update(modifierExtension=[{"url": "urn:not"}]), "modifierExtension", NOT_EXPECTED),
    (lambda r: r.update(contained=[{"resourceType": "Patient"}]), "contained", NOT_EXPECTED),
    (lambda r: r.update(text={"status": "generated", "div": "<div/>"}), "text", NOT_EXPECTED),
    (lambda r: r["meta"].update(security=[{"code": "R"}]), "meta.security", NOT_EXPECTED),
    (lambda r: r["meta"]["tag"].append({"code": "other"}), "meta.tag", NOT_AS_OTHERS),
    (lambda r: r["identifier"].append({"system": "urn:x", "value": "1"}), "identifier", NOT_AS_OTHERS),
    (lambda r: r["subject"].update(identifier={"value": "2"}), "subject.identifier", NOT_EXPECTED),
    (lambda r: r["subject"].update(display="Somebody"), "subject.display", NOT_EXPECTED),
    (lambda r: r["subject"].update(type="Group"), "subject.type", NOT_BY_RULE),
    (lambda r: r["category"].append(r["category"][0]), "category", NOT_AS_OTHERS),
    (lambda r: r["category"][0]["coding"][0].update(code="vital-signs"), "category", NOT_AS_OTHERS),
    (lambda r: r["code"].update(text="glucose"), "code.text", NOT_BY_RULE),
    (lambda r: r["code"].pop("text"), "code.text", MISSING),
    (lambda r: r["code"]["coding"][0].update(display="Glucose"), "code.coding[].display", NOT_BY_RULE),
    (lambda r: r["code"]["coding"][1].pop("display"), "code.coding[].display", MISSING),
    (lambda r: r["code"]["coding"][1].update(userSelected=True), "code.coding[].userSelected", NOT_EXPECTED),
    (lambda r: r["code"]["coding"].reverse(), "code.coding", NOT_AS_OTHERS),
    (lambda r: r["valueQuantity"].update(unit="lb"), "valueQuantity.unit", NOT_AS_OTHERS),
    (lambda r: r["valueQuantity"].update(code="[lb_av]"), "valueQuantity.code", NOT_AS_OTHERS),
    (lambda r: r["valueQuantity"].update(comparator="<"), "valueQuantity.comparator", NOT_EXPECTED),
    (lambda r: r["valueQuantity"].update(modifierExtension=[{}]), "valueQuantity.modifierExtension", NOT_EXPECTED),
]


@pytest.mark.parametrize(("change", "path", "kind"), PLANTED, ids=[f"{path} {kind}" for _, path, kind in PLANTED])
def test_what_nobody_answers_for_is_named(change: Callable[[dict[str, Any]], Any], path: str, kind: str) -> None:
    resources = [observation(number) for number in range(5)]
    change(resources[3])
    found, _ = judged(resources)
    assert ("3", path, kind) in found
    assert {key for key, _, _ in found} == {"3"}


def test_what_differs_from_row_to_row_and_nobody_compares_is_counted_as_proven_by_hash_alone() -> None:
    found, world = judged([observation(number) | issued(number) for number in range(5)])
    assert found == []
    assert world.leaves[Owner.HASH] == 5 * 8  # with status, category, unit, note


def issued(number: int) -> dict[str, str]:
    return {"issued": f"2024-01-0{number + 1}T08:00:00Z"}


def test_a_list_of_concepts_owns_the_codings_of_each() -> None:
    """Of five rows each has other manifestations, which the list's check compares; an id beside them it does not."""
    many = {"name": "n", "path": "reaction.manifestation", "compare": "code", "table": "test"}
    main = {"many": [many | {"from": "t", "key": "k", "sql": "s", "order": "s"}]}
    declared = EntityChecks.model_validate({"from": "t", "key": "id", "resources": {"main": main}})
    owners, found = SlotOwnership(declared, "main", f"{BASE}/t", BASE), list[str]()
    world = ClosedWorld("Reaction", DerivedValues(BASE, {}), lambda whose, path, _: found.append(f"{whose.key} {path}"))
    for number in range(5):
        codings = [{"system": LOCAL, "code": f"{number}{item}"} for item in range(number)]
        allergy: dict[str, Any] = {"resourceType": "AllergyIntolerance", "id": str(number), "code": {"text": "same"}}
        allergy["reaction"] = [{"manifestation": [{"coding": [coding]}]} for coding in codings]
        if number == 3:
            allergy["reaction"][1]["manifestation"][0]["id"] = "planted"
        world.examine(allergy, owners.owned(allergy, None), Witness(str(number), ""), True)
    world.finish()
    assert [told for told in found if told.startswith("3 ")] == ["3 Reaction.reaction[].manifestation[].id"]


def test_concepts_with_a_code_and_those_in_words_may_stand_in_one_list() -> None:
    """A payer's type: the same code in all, and the ownership in words, which a check compares."""
    checks = {"name": "own", "sql": "own", "path": "type[1].text", "compare": "text"}
    main = {"checks": [checks], "constants": {"type[0].coding.code": "pay"}}
    declared = EntityChecks.model_validate({"from": "t", "key": "id", "resources": {"main": main}})
    owners, found = SlotOwnership(declared, "main", f"{BASE}/t", BASE), list[str]()
    world = ClosedWorld("Organization", DerivedValues(BASE, {}), lambda _, path, kind: found.append(f"{path} {kind}"))
    for number in range(5):
        kinds = [{"coding": [{"system": "urn:kinds", "code": "pay"}]}, {"text": f"owner {number}"}]
        payer = {"resourceType": "Organization", "id": str(number), "type": kinds}
        world.examine(payer, owners.owned(payer, None), Witness(str(number), ""), True)
    world.finish()
    assert found == []


def test_of_two_that_differ_nobody_knows_which_is_right_but_some_elements_are_never_taken_on_trust() -> None:
    resources = [observation(1), observation(2) | {"status": "amended", "contained": [{"resourceType": "Patient"}]}]
    assert judged(resources)[0] == [("2", "contained", NOT_EXPECTED)]


def test_a_constant_must_stand_wherever_its_parent_does() -> None:
    constants = {"status": "final", "category.coding.code": "laboratory", "valueQuantity.code": "kg", "component.x": 1}
    resource = observation(1)
    clean = dict.fromkeys(("status", "category.coding.code", "valueQuantity.code"))
    assert constant_faults(resource, constants, BASE) == clean
    resource["status"] = "amended"
    del resource["valueQuantity"]["code"]
    wrong = {"status": "different", "category.coding.code": None, "valueQuantity.code": "missing"}
    assert constant_faults(resource, constants, BASE) == wrong
    assert constant_faults({"active": 1}, {"active": True}, BASE) == {"active": "different"}


@pytest.mark.parametrize(
    ("found", "kind"),
    [("abc", None), ("acb", "order"), ("ab", "missing"), ("abcc", "unexpected"), ("abb", "different")],
)
def test_a_list_is_compared_whole(found: str, kind: str | None) -> None:
    values = {"name": "n", "path": "p", "compare": "text", "from": "t", "key": "k", "sql": "s", "order": "o"}
    many = ManyCheck.model_validate(values)
    assert list_fault(many, "abc", found, lambda one, other: bool(one == other)) == kind
    unordered = many.model_copy(update={"order": None})
    assert list_fault(unordered, "abc", found, lambda one, other: bool(one == other)) == (
        None if kind == "order" else kind
    )


# -- on a server, in both modes ----------------------------------------------------------------------


@pytest.mark.parametrize("honest", [False, True], ids=["behind our back", "agreed with the manifest"])
def test_a_planted_fault_is_named_by_key_and_path_and_nothing_else_is(tiny: Environment, honest: bool) -> None:
    """The tiny platform's checks do not say what status, code and unit are: all weights have the same."""
    migrate(tiny, RUN)
    world = open_world(tiny)
    _, weight = world.find("weight", "main", lambda _: True)
    _, patient = world.find("patient", "main", lambda _: True)
    assert world.differences("weight") == world.differences("patient") == []
    changes: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
        ("weight", weight, {"status": "amended"}, "Observation.status"),
        ("weight", weight, {"bodySite": {"text": "left"}}, "Observation.bodySite"),
        (
            "weight",
            weight,
            {"valueQuantity": weight["valueQuantity"] | {"unit": "lb"}},
            "Observation.valueQuantity.unit",
        ),
        (
            "patient",
            patient,
            {"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]},
            "Patient.modifierExtension",
        ),
    ]
    for entity, original, change, path in changes:
        with world.changed(original, copy.deepcopy(original) | change, honest):
            found = [each for each in world.differences(entity) if each.name == NOTHING_ELSE]
        assert [(each.key, each.field) for each in found] == [(original["identifier"][0]["value"], path)]
    world.http.close()
