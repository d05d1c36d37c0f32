"""The law of what is one value: the merge makes none that neither side has. And what that is, by FHIR's definitions."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import fhir.resources.R4B
import pytest
from fhir.resources.R4B.resource import Resource as ResourceModel
from hypothesis import given
from hypothesis import strategies as st

from medferry.fhir.footprint import Footprint, footprint_of, put, shown
from medferry.fhir.merge import Merged, completed, merge
from medferry.fhir.merging import ElementKey
from medferry.fhir.one_value import BY_MEMBER, DATA_TYPES, STRUCTURES, is_one_value, whole
from medferry.fhir.rulings import Rulings
from medferry.fhir.sides import Side
from tests.fhir.test_merge import MANY

WORDS = st.sampled_from(["a", "b", "c"])


def some(*required: str, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(dict.fromkeys(required, WORDS), optional=optional).filter(bool)


CODING = some("code", system=WORDS, display=WORDS)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "code": some(text=WORDS, coding=st.lists(CODING, min_size=1, max_size=3)),
    "valueQuantity": some(value=WORDS, unit=WORDS, comparator=WORDS),
    "effectivePeriod": some(start=WORDS, end=WORDS),
    "subject": some(
        reference=WORDS, display=WORDS, identifier=some("value", assigner=some("reference", display=WORDS))
    ),
    "effectiveTiming": some(event=st.lists(WORDS, min_size=1), repeat=some(count=WORDS, period=WORDS)),
}
OBSERVATIONS = st.fixed_dictionaries({"resourceType": st.just("Observation")}, optional=VALUES)
ADDRESS = some("use", city=WORDS, line=st.lists(WORDS, min_size=1, max_size=2), text=WORDS)
PLACES = st.fixed_dictionaries(
    {"resourceType": st.just("Patient")}, optional={"address": st.lists(ADDRESS, min_size=1, max_size=2)}
)


def said(value: Any) -> Any:
    """A value without its displays; told independently of the merge."""
    if isinstance(value, list):
        return [said(item) for item in value]
    return {n: said(v) for n, v in value.items() if n != "display"} if isinstance(value, dict) else value


def worded(value: Any) -> Iterator[tuple[Any, Any]]:
    """(what it says, its display) of each coding and reference."""
    for item in value if isinstance(value, list) else [*value.values(), value] if isinstance(value, dict) else []:
        if item is value:
            yield said(value), value.get("display")
        else:
            yield from worded(item)


def owned(*versions: Any) -> Footprint:
    found = Footprint(frozenset())
    for version in versions:
        found |= footprint_of(version)
    return found


def is_one_of(value: Any, ours: Any, theirs: Any) -> bool:
    wordings = [*worded(ours), *worded(theirs)]
    return said(value) in (said(ours), said(theirs)) and all(one in wordings for one in worded(value))


@MANY
@given(OBSERVATIONS, OBSERVATIONS, OBSERVATIONS)
def test_no_value_of_the_result_is_one_that_neither_side_has(base: Any, ours: Any, theirs: Any) -> None:
    merged = merge(base, ours, theirs, owned(base, ours))
    for name in VALUES:
        assert is_one_of(merged.resource.get(name), ours.get(name), theirs.get(name))
    assert {path for conflict in merged.conflicts for path in conflict.path} <= {*VALUES, "effective[x]"}


@MANY
@given(PLACES, PLACES, PLACES)
def test_no_address_of_the_result_is_one_that_neither_side_has(base: Any, ours: Any, theirs: Any) -> None:
    merged = merge(base, ours, theirs, owned(base, ours)).resource
    assert all(one in [*ours.get("address", []), *theirs.get("address", [])] for one in merged.get("address", []))


@MANY
@given(OBSERVATIONS, OBSERVATIONS, OBSERVATIONS, st.sampled_from(Side))
def test_a_decision_takes_the_whole_value_of_one_side(base: Any, ours: Any, theirs: Any, side: Side) -> None:
    footprint = owned(base, ours)
    plain = merge(base, ours, theirs, footprint)
    done = merge(base, ours, theirs, footprint, Rulings(in_conflict=lambda _: side))
    winner = ours if side is Side.LEGACY else theirs
    assert done.conflicts == ()
    for name in {str(conflict.path[0]) for conflict in plain.conflicts} - {"effective[x]"}:
        if not name.startswith("effective") or len(plain.conflicts) == 1:
            assert done.resource.get(name) == winner.get(name)


@MANY
@given(OBSERVATIONS, OBSERVATIONS, OBSERVATIONS)
def test_one_side_s_change_of_a_value_is_never_in_conflict(base: Any, ours: Any, theirs: Any) -> None:
    for name in ("code", "valueQuantity", "subject"):
        alone = {**base, name: theirs[name]} if name in theirs else {n: v for n, v in base.items() if n != name}
        assert merge(base, base, alone, owned(base)) == Merged(alone, ())
        assert merge(base, alone, base, owned(base, alone)) == Merged(put(base, owned(base), {}) | alone, ())
    merged = merge(base, ours, base, owned(base, ours))
    assert merged == Merged(ours, ())


# -- examples a person can check -------------------------------------------------------------------


def observation(**content: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", **{name: value for name, value in content.items() if value is not None}}


def mg(value: float, unit: str = "mg") -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


def coding(code: str, display: str | None = None, system: str = "http://loinc.org") -> dict[str, Any]:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def concept(*codings: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    return {**({"coding": [*codings]} if codings else {}), **({"text": text} if text else {})}


GLUCOSE, SODIUM, POTASSIUM = (concept(coding(code), text=code) for code in ("2345-7", "2951-2", "2823-3"))
PERIOD = {"start": "2020-01-01", "end": "2020-01-03"}
LOCAL = coding("GLU", system="https://clinic/test")


@pytest.mark.parametrize(
    ("name", "base", "ours", "theirs"),
    [
        ("valueQuantity", mg(5), mg(5, "g"), mg(6)),
        ("valueQuantity", mg(5), mg(5000, "ug"), mg(6)),
        ("valueQuantity", mg(5), mg(6), mg(5) | {"comparator": "<"}),
        ("code", GLUCOSE, SODIUM, POTASSIUM),
        ("code", concept(coding("a")), concept(coding("b")), concept(coding("c"))),
        ("code", GLUCOSE, SODIUM, concept(*GLUCOSE["coding"], LOCAL, text="2345-7")),
        ("code", GLUCOSE, SODIUM, concept(text="2345-7")),
        ("code", concept(LOCAL, *GLUCOSE["coding"], text="a"), concept(LOCAL, *GLUCOSE["coding"], text="b"),
         concept(LOCAL, text="a")),  # a coding that was taken away would come back
        ("effectivePeriod", PERIOD, PERIOD | {"start": "2020-01-04"}, PERIOD | {"end": "2020-01-02"}),
        ("effectivePeriod", {"start": "2020-01-01"}, {"start": "2020-01-04"}, PERIOD),
        ("subject", {"reference": "Patient/1"}, {"reference": "Patient/2"}, {"reference": "Patient/3"}),
        ("subject", {"reference": "Patient/1"}, None, {"reference": "Patient/1", "display": "A"}),
    ],
)  # fmt: skip
def test_a_value_that_both_changed_is_a_conflict_as_a_whole(name: str, base: Any, ours: Any, theirs: Any) -> None:
    versions = [observation(**{name: value}) for value in (base, ours, theirs)]
    merged = merge(versions[0], versions[1], versions[2], owned(*versions[:2]))
    assert [(shown(one.path), one.base, one.ours, one.theirs) for one in merged.conflicts] == [
        (name, base, ours, theirs)
    ]
    assert merged.resource == versions[2]
    for side, stands in ((Side.LEGACY, versions[1]), (Side.MEDPLUM, versions[2])):
        decided = Rulings(in_conflict=lambda element, side=side: side if element == name else None)  # type: ignore[misc]
        assert merge(versions[0], versions[1], versions[2], owned(*versions[:2]), decided).resource == stands


@pytest.mark.parametrize(
    ("name", "base", "ours", "theirs", "stands"),
    [
        # a Bot's coding stays while the legacy side changes nothing of the concept
        ("code", GLUCOSE, GLUCOSE, concept(*GLUCOSE["coding"], LOCAL, text="2345-7"),
         concept(*GLUCOSE["coding"], LOCAL, text="2345-7")),
        # a display that a user gave stays with its code, and goes with it
        ("code", GLUCOSE, concept(coding("2345-7"), text="Glc"), concept(coding("2345-7", "Glucose"), text="2345-7"),
         concept(coding("2345-7", "Glucose"), text="Glc")),
        ("code", GLUCOSE, SODIUM, concept(coding("2345-7", "Glucose"), text="2345-7"), SODIUM),
        ("subject", {"reference": "Patient/1"}, {"reference": "Patient/2"}, {"reference": "Patient/1", "display": "A"},
         {"reference": "Patient/2"}),
        ("subject", {"reference": "Patient/1"}, {"reference": "Patient/1", "type": "Patient"},
         {"reference": "Patient/1", "display": "A"}, {"reference": "Patient/1", "type": "Patient"}),
        # what the mapping completes was left open by a user: he says the same
        ("code", concept(LOCAL, *GLUCOSE["coding"], text="2345-7"), SODIUM, concept(*GLUCOSE["coding"]), SODIUM),
        ("code", GLUCOSE, concept(LOCAL, *SODIUM["coding"]), concept(*SODIUM["coding"]),
         concept(LOCAL, *SODIUM["coding"])),
    ],
)  # fmt: skip
def test_what_one_side_alone_says_anew_stands(name: str, base: Any, ours: Any, theirs: Any, stands: Any) -> None:
    versions = [observation(**{name: value}) for value in (base, ours, theirs)]
    merged = merge(versions[0], versions[1], versions[2], owned(*versions[:2]))
    assert (merged.resource, merged.conflicts) == (observation(**{name: stands}), ())


def test_two_displays_of_one_code_are_a_conflict_of_the_concept() -> None:
    base, ours, theirs = (observation(code=concept(coding("a", display))) for display in ("x", "y", "z"))
    merged = merge(base, ours, theirs, owned(base, ours))
    assert [shown(one.path) for one in merged.conflicts] == ["code"]


def test_where_one_side_alone_writes_it_writes_the_whole_value() -> None:
    base, ours = observation(code=GLUCOSE), observation(code=SODIUM)
    theirs = observation(code=concept(coding("2345-7", "Glucose"), text="2345-7"))
    legacy, medplum = (
        Rulings(theirs_alone=lambda _: Side.LEGACY),
        Rulings(ours_alone=lambda _: Side.MEDPLUM),
    )
    assert merge(base, ours, theirs, owned(base, ours), legacy).resource == ours
    assert merge(base, ours, theirs, owned(base, ours), medplum).resource == theirs


def test_an_address_is_one_value_and_a_name_goes_by_member() -> None:
    def patient(city: str, line: str, given: str, family: str) -> dict[str, Any]:
        address = {"use": "home", "city": city, "line": [line]}
        return {"resourceType": "Patient", "address": [address], "name": [{"given": [given], "family": family}]}

    base, ours, theirs = patient("A", "1", "x", "y"), patient("B", "1", "X", "y"), patient("A", "2", "x", "Y")
    merged = merge(base, ours, theirs, owned(base, ours))
    assert [shown(one.path) for one in merged.conflicts] == ["address[home]"]
    assert merged.resource["name"] == [{"given": ["X"], "family": "Y"}]


def test_what_was_made_of_a_resource_completes_it() -> None:
    written = observation(code=concept(*GLUCOSE["coding"], text="sugar"), valueQuantity={"value": 5})
    made = observation(code=concept(LOCAL, *GLUCOSE["coding"], text="2345-7"), valueQuantity=mg(5))
    assert completed(written, made) == observation(
        code=concept(LOCAL, *GLUCOSE["coding"], text="sugar"), valueQuantity=mg(5)
    )


# -- by FHIR's definitions -------------------------------------------------------------------------


def test_every_data_type_of_fhir_is_one_value_or_goes_by_member() -> None:
    data_types, structures = set(), set()
    for module in pkgutil.iter_modules(fhir.resources.R4B.__path__):
        if module.name.startswith(("_", "tests")):
            continue
        loaded = importlib.import_module(f"fhir.resources.R4B.{module.name}")
        own = {name: kind for name, kind in vars(loaded).items() if getattr(kind, "__module__", "") == loaded.__name__}
        models = {name: kind for name, kind in own.items() if isinstance(getattr(kind, "model_fields", None), dict)}
        main = next((kind for name, kind in models.items() if name.lower() == module.name), None)
        if main is not None and not issubclass(main, ResourceModel):
            data_types.add(main.__name__)
        elif main is not None:
            structures |= models.keys() - {main.__name__}
    assert data_types - {"Element", "BackboneElement", "FHIRResourceModel"} == DATA_TYPES | BY_MEMBER
    assert structures >= STRUCTURES
    assert not DATA_TYPES & BY_MEMBER


@pytest.mark.parametrize(
    ("resource_type", "path", "leads_to"),
    [
        ("Observation", ("valueQuantity", "value"), ("valueQuantity",)),
        ("Observation", ("code", "coding", ElementKey(("s", "a"))), ("code",)),
        ("Observation", ("component",), ("component",)),
        ("Patient", ("identifier", ElementKey(("s", "1")), "value"), ("identifier", ElementKey(("s", "1")))),
        ("Patient", ("name", ElementKey(("usual",)), "family"), ("name", ElementKey(("usual",)), "family")),
        ("Patient", ("meta", "tag", ElementKey(("s", "a"))), ("meta", "tag", ElementKey(("s", "a")))),
        ("MedicationRequest", ("dispenseRequest", "quantity", "value"), ("dispenseRequest", "quantity")),
        ("MedicationAdministration", ("dosage", "dose", "value"), ("dosage",)),
        ("Location", ("position", "latitude"), ("position",)),
        ("Bundle", ("identifier", "value"), ("identifier",)),
        ("Unknown", ("something", "below"), ("something",)),
    ],
)
def test_a_place_within_one_value_is_that_value(resource_type: str, path: Any, leads_to: Any) -> None:
    assert whole(resource_type, path) == leads_to


def test_the_contact_points_of_a_list_go_by_member_and_one_alone_does_not() -> None:
    assert not is_one_value("Patient", ("telecom", ElementKey(("phone", "home"))))
    assert is_one_value("Parameters", ("parameter", "valueContactPoint"))
