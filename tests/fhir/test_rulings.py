"""The law of a decision: the chosen side's value in exactly the places in conflict, everything else as it merges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from medferry.fhir.footprint import Footprint, footprint_of, get, put
from medferry.fhir.merge import Merged, merge
from medferry.fhir.merging import ElementKey, Path, element_of
from medferry.fhir.rulings import WHOLE, Rulings, by_elements, covers, told
from medferry.fhir.sides import Side
from tests.fhir.test_merge import FOOTPRINTS, MANY, RESOURCES, moved


def elements(merged: Merged) -> tuple[str, ...]:
    return told({element_of(conflict.path) for conflict in merged.conflicts})


def decided(merged: Merged, side: Side) -> Rulings:
    return Rulings(in_conflict=by_elements(dict.fromkeys(elements(merged), side)))


def at(resource: Any, path: Path) -> Any:
    """What a resource has in a place, told independently of the merge."""
    found = resource
    for number, step in enumerate(path):
        if isinstance(step, ElementKey):
            members = {"identifier": ("system", "value"), "telecom": ("system", "use"), "name": ("use",)}
            of = members.get(str(path[number - 1]), ("system", "code"))
            found = [one for one in found or [] if tuple(one.get(name) for name in of) == step.values]
            if number + 1 < len(path):
                [found] = found
        elif step.endswith("[x]"):
            found = {name: value for name, value in (found or {}).items() if name.startswith(step[:-3])}
        else:
            found = (found or {}).get(step)
    return found or None


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_decided_for_legacy_its_values_stand_in_exactly_the_places_in_conflict(
    base: Any, other: Any, theirs: Any, footprint: Footprint
) -> None:
    ours = moved(base, other, footprint)
    plain = merge(base, ours, theirs, footprint)
    done = merge(base, ours, theirs, footprint, decided(plain, Side.LEGACY))
    assert done.conflicts == ()
    whole = {c.path for c in plain.conflicts if element_of(c.path) in elements(plain)}
    for path in whole:
        assert at(done.resource, path) == at(ours, path)
    tops = Footprint(frozenset((str(c.path[0]),) if "[x]" in str(c.path[-1]) else c.path[:1] for c in plain.conflicts))
    choices = {name for name in {*ours, *theirs} if any(covers(one, name) for one in elements(plain))}
    tops |= Footprint(frozenset((name,) for name in choices))
    assert put(done.resource, tops, {}) == put(plain.resource, tops, {})


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_decided_for_medplum_its_values_stand_there(base: Any, other: Any, theirs: Any, footprint: Footprint) -> None:
    ours = moved(base, other, footprint)
    plain = merge(base, ours, theirs, footprint)
    done = merge(base, ours, theirs, footprint, decided(plain, Side.MEDPLUM))
    assert (done.resource, done.conflicts) == (plain.resource, ())


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_decisions_are_stable_under_repetition(base: Any, other: Any, theirs: Any, footprint: Footprint) -> None:
    ours = moved(base, other, footprint)
    for side in Side:
        rulings = decided(merge(base, ours, theirs, footprint), side)
        done = merge(base, ours, theirs, footprint, rulings)
        assert merge(base, ours, done.resource, footprint, rulings).resource == done.resource
        assert merge(ours, ours, done.resource, footprint) == Merged(done.resource, ())  # as the new base


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_one_side_for_all_is_that_side_within_the_footprint(
    base: Any, ours: Any, theirs: Any, footprint: Footprint
) -> None:
    owned = footprint | footprint_of(base) | footprint_of(ours)
    kept = merge(base, ours, theirs, owned, Rulings.of_all(Side.MEDPLUM))
    assert (kept.resource, kept.conflicts) == (theirs, ())
    done = merge(base, ours, theirs, owned, Rulings.of_all(Side.LEGACY))
    assert done.conflicts == ()
    choices = {name for name in theirs if name.startswith("deceased")}
    if not choices - ours.keys():
        assert get(done.resource, owned).keys() == get(ours, owned).keys()


BASE = {"resourceType": "Patient", "birthDate": "a", "telecom": [{"system": "p", "value": "a"}], "gender": "a"}
OURS = BASE | {"birthDate": "b", "telecom": [{"system": "p", "value": "b"}], "gender": "b"}
THEIRS = BASE | {"birthDate": "c", "telecom": [{"system": "p", "value": "c"}, {"system": "e", "value": "x"}]}


def test_each_element_goes_with_its_own_decision_and_what_is_not_decided_is_a_conflict() -> None:
    rulings = Rulings(in_conflict=by_elements({"telecom.value": Side.LEGACY}))
    merged = merge(BASE, OURS, THEIRS, footprint_of(OURS), rulings)
    assert elements(merged) == ("birthDate",)
    assert merged.ruled == {"telecom.value": Side.LEGACY}
    assert merged.resource == THEIRS | {"gender": "b", "telecom": [OURS["telecom"][0], THEIRS["telecom"][1]]}  # type: ignore[index]


def test_one_side_s_own_change_goes_only_where_a_rule_is_about_that() -> None:
    ours = Rulings(ours_alone=lambda _: Side.MEDPLUM)
    assert merge(BASE, BASE | {"gender": "b"}, BASE, footprint_of(BASE), ours).resource == BASE
    theirs = Rulings(theirs_alone=lambda _: Side.LEGACY)
    assert merge(BASE, BASE, BASE | {"gender": "c"}, footprint_of(BASE), theirs).resource == BASE


@pytest.mark.parametrize(
    ("sides", "element", "side"),
    [
        ({"name": Side.LEGACY, "name.family": Side.MEDPLUM}, "name.family", Side.MEDPLUM),
        ({"name": Side.LEGACY, "name.family": Side.MEDPLUM}, "name.given", Side.LEGACY),
        ({"name": Side.LEGACY}, "names", None),
        ({"name.family": Side.LEGACY}, "name", None),
        ({WHOLE: Side.LEGACY}, "anything", Side.LEGACY),
        ({"value[x]": Side.LEGACY}, "valueQuantity.value", Side.LEGACY),
        ({"valueString": Side.LEGACY}, "value[x]", Side.LEGACY),
        ({"valueString": Side.LEGACY}, "valueQuantity", None),
    ],
)
def test_an_element_is_decided_with_what_is_below_it(sides: dict[str, Side], element: str, side: Side | None) -> None:
    assert by_elements(sides)(element) is side


def test_what_is_told_has_nothing_twice() -> None:
    found = {"value[x]", "valueString", "name.family", "name", "birthDate"}
    assert told(found) == ("birthDate", "name", "value[x]")
