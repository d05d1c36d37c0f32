"""The laws of the three-way merge, for any resources; and what it does with examples a person can check."""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import fhir.resources.R4B
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medferry.fhir.choices import choice_of
from medferry.fhir.footprint import Footprint, footprint_of, get, put, shown
from medferry.fhir.merge import Merged, merge
from medferry.fhir.merging import ElementKey, Path
from medferry.fhir.one_value import meaning
from medferry.fhir.rulings import Rulings
from medferry.fhir.sides import Side

# Few values, so that versions often agree; every form that a place can have.
WORDS = st.sampled_from(["a", "b", "c"])
CODING = st.fixed_dictionaries({"system": WORDS, "code": WORDS}, optional={"display": WORDS})
CONCEPT = st.fixed_dictionaries({}, optional={"text": WORDS, "coding": st.lists(CODING, min_size=1, max_size=3)})
CONCEPT = CONCEPT.filter(bool)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "active": st.booleans(),
    "birthDate": WORDS,
    "maritalStatus": CONCEPT,
    "category": st.lists(CONCEPT, min_size=1, max_size=2),
    "deceasedBoolean": st.booleans(),
    "deceasedDateTime": WORDS,
    "identifier": st.lists(st.fixed_dictionaries({"system": WORDS, "value": WORDS}), min_size=1, max_size=3),
    "telecom": st.lists(
        st.fixed_dictionaries({"system": WORDS}, optional={"use": WORDS, "value": WORDS}), min_size=1, max_size=3
    ),
    "name": st.lists(
        st.fixed_dictionaries({"family": WORDS}, optional={"use": WORDS, "given": st.lists(WORDS, min_size=1)}),
        min_size=1,
        max_size=3,
    ),
    "meta": st.fixed_dictionaries({"tag": st.lists(CODING, min_size=1, max_size=2)}),
}
RESOURCES = st.fixed_dictionaries({"resourceType": st.just("Patient")}, optional=MEMBERS)
EVERYTHING = Footprint(frozenset((name,) for name in MEMBERS))
PLACES = st.sampled_from(
    [("birthDate",), ("maritalStatus", "text"), ("maritalStatus",), ("telecom", ElementKey(("a", None))), ("name",)]
)
FOOTPRINTS = st.builds(
    lambda resource, paths: footprint_of(resource) | Footprint(frozenset(paths)), RESOURCES, st.sets(PLACES, max_size=3)
)
MANY = settings(max_examples=150, deadline=None, derandomize=True)


def moved(base: Any, other: Any, footprint: Footprint) -> Any:
    """`base` with another's content in the footprint: what our side may become."""
    return put(base, footprint, get(other, footprint))


def places(merged: Merged) -> list[tuple[Path, Any, Any]]:
    return sorted(((c.path, c.ours, c.theirs) for c in merged.conflicts), key=repr)


@MANY
@given(RESOURCES, FOOTPRINTS)
def test_putting_back_what_was_got_changes_nothing(resource: Any, footprint: Footprint) -> None:
    assert put(resource, footprint, get(resource, footprint)) == resource


@MANY
@given(RESOURCES, RESOURCES, FOOTPRINTS)
def test_what_was_put_is_what_is_got(resource: Any, other: Any, footprint: Footprint) -> None:
    fields = get(other, footprint)
    assert get(put(resource, footprint, fields), footprint) == fields


@MANY
@given(RESOURCES, RESOURCES, FOOTPRINTS)
def test_one_side_s_change_is_the_result(base: Any, other: Any, footprint: Footprint) -> None:
    assert merge(base, base, other, footprint) == Merged(other, ())
    ours = moved(base, other, footprint)
    assert merge(base, ours, base, footprint) == Merged(ours, ())


@MANY
@given(RESOURCES, RESOURCES, FOOTPRINTS)
def test_the_same_change_of_both_is_no_conflict(base: Any, other: Any, footprint: Footprint) -> None:
    ours = moved(base, other, footprint)
    assert merge(base, ours, ours, footprint) == Merged(ours, ())


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_merging_again_changes_nothing(base: Any, other: Any, theirs: Any, footprint: Footprint) -> None:
    ours = moved(base, other, footprint)
    once = merge(base, ours, theirs, footprint)
    again = merge(base, ours, once.resource, footprint)
    assert again.resource == once.resource
    assert [c.path for c in again.conflicts] == [c.path for c in once.conflicts]


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_conflicts_are_the_same_from_either_side(base: Any, one: Any, other: Any, footprint: Footprint) -> None:
    ours, theirs = moved(base, one, footprint), moved(base, other, footprint)
    there, back = merge(base, ours, theirs, footprint), merge(base, theirs, ours, footprint)
    found, again = places(there), sorted(((path, b, a) for path, a, b in places(back)), key=repr)
    if leaves_open(base, ours, theirs) or leaves_open(base, theirs, ours):  # that the mapping completes, and no user
        found, again = ([one for one in some if one[0] != ("maritalStatus",)] for some in (found, again))
    assert found == again


def leaves_open(base: Any, ours: Any, theirs: Any) -> bool:
    """Whether their concept has codings, and nothing that is not in one of the others."""
    concepts = [meaning(version.get("maritalStatus", {})) for version in (base, ours, theirs)]
    *others, left = concepts
    return any(
        all(one in other.get("coding", []) for one in left["coding"]) and left.get("text") in (None, other.get("text"))
        for other in others
        if left.get("coding")
    )


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_nothing_outside_the_footprint_changes(base: Any, other: Any, theirs: Any, footprint: Footprint) -> None:
    merged = merge(base, moved(base, other, footprint), theirs, footprint).resource
    assert put(merged, footprint, {}) == put(theirs, footprint, {})


@MANY
@given(RESOURCES, RESOURCES, RESOURCES)
def test_no_conflict_means_every_change_is_kept(base: Any, ours: Any, theirs: Any) -> None:
    """Told independently of the merge: a place that one side changed has that side's value."""
    merged = merge(base, ours, theirs, EVERYTHING)
    if merged.conflicts:
        return
    for name in ("active", "birthDate", "category"):
        changed = [side.get(name) for side in (ours, theirs) if side.get(name) != base.get(name)]
        assert merged.resource.get(name) == (changed[0] if changed else base.get(name))


@MANY
@given(RESOURCES, RESOURCES, RESOURCES, FOOTPRINTS)
def test_nobody_s_resource_is_changed_in_place(base: Any, ours: Any, theirs: Any, footprint: Footprint) -> None:
    before = copy.deepcopy((base, ours, theirs))
    merge(base, ours, theirs, footprint)
    assert (base, ours, theirs) == before


BASE = {
    "resourceType": "Patient",
    "birthDate": "1970-01-01",
    "name": [{"use": "official", "family": "Okafor", "given": ["Ada"]}],
    "telecom": [{"system": "phone", "use": "home", "value": "1"}, {"system": "phone", "use": "work", "value": "2"}],
}
HOME = ElementKey(("phone", "home"))


def with_home(*elements: dict[str, Any]) -> dict[str, Any]:
    return put(BASE, Footprint(frozenset({("telecom", HOME)})), {("telecom", HOME): list(elements)} if elements else {})


def test_changes_of_two_members_of_one_name_go_together() -> None:
    ours = BASE | {"name": [{"use": "official", "family": "Okafor-Lind", "given": ["Ada"]}]}
    theirs = BASE | {"name": [{"use": "official", "family": "Okafor", "given": ["Ada"], "prefix": ["Dr"]}]}
    merged = merge(BASE, ours, theirs, footprint_of(BASE))
    assert merged.conflicts == ()
    assert merged.resource["name"] == [{"use": "official", "family": "Okafor-Lind", "given": ["Ada"], "prefix": ["Dr"]}]


def test_a_new_element_of_theirs_stays_where_it_is() -> None:
    mobile = {"system": "phone", "use": "mobile", "value": "3"}
    theirs = BASE | {"telecom": [mobile, *BASE["telecom"]]}
    ours = with_home({"system": "phone", "use": "home", "value": "9"})
    merged = merge(BASE, ours, theirs, footprint_of(BASE)).resource
    assert [(phone["use"], phone["value"]) for phone in merged["telecom"]] == [
        ("mobile", "3"),
        ("home", "9"),
        ("work", "2"),
    ]


def test_a_field_changed_on_both_sides_is_a_conflict_by_its_path() -> None:
    ours = with_home({"system": "phone", "use": "home", "value": "9"})
    theirs = with_home({"system": "phone", "use": "home", "value": "8", "rank": 1})
    merged = merge(BASE, ours, theirs, footprint_of(BASE))
    (conflict,) = merged.conflicts
    assert shown(conflict.path) == "telecom[phone,home].value"
    assert (conflict.base, conflict.ours, conflict.theirs) == ("1", "9", "8")
    assert merged.resource == theirs
    assert "9" not in repr(merged)


def test_what_one_side_removed_and_the_other_changed_is_a_conflict_as_a_whole() -> None:
    theirs = with_home({"system": "phone", "use": "home", "value": "1", "rank": 1})
    merged = merge(BASE, with_home(), theirs, footprint_of(BASE))
    assert [shown(conflict.path) for conflict in merged.conflicts] == ["telecom[phone,home]"]
    assert merge(BASE, with_home(), BASE, footprint_of(BASE)).resource["telecom"] == BASE["telecom"][1:]


def test_two_elements_of_one_key_are_one_value() -> None:
    theirs = with_home(*BASE["telecom"][:1], {"system": "phone", "use": "home", "value": "7"})
    ours = with_home({"system": "phone", "use": "home", "value": "9"})
    merged = merge(BASE, ours, theirs, footprint_of(BASE))
    assert [shown(conflict.path) for conflict in merged.conflicts] == ["telecom[phone,home]"]


def test_a_list_without_keys_is_one_value() -> None:
    base, ours, theirs = ({"category": [{"text": text}]} for text in "abc")
    assert [c.path for c in merge(base, ours, theirs, footprint_of(base)).conflicts] == [("category",)]


def test_two_types_of_one_choice_are_a_conflict() -> None:
    base = {"resourceType": "Observation", "valueQuantity": {"value": 1}}
    ours = {"resourceType": "Observation", "valueString": "1"}
    theirs = {"resourceType": "Observation", "valueCodeableConcept": {"text": "one"}}
    merged = merge(base, ours, theirs, footprint_of(base) | footprint_of(ours))
    assert [shown(conflict.path) for conflict in merged.conflicts] == ["value[x]"]
    assert merged.resource == theirs


def test_the_value_of_an_identifier_is_not_shown() -> None:
    (path,) = footprint_of({"identifier": [{"system": "https://clinic", "value": "MRN-1"}]}).paths
    assert shown(path) == "identifier[https://clinic]"


def numbers(*values: str, other: str = "x") -> dict[str, Any]:
    """A patient with identifiers of one system, and one of another."""
    of_mrn = [{"system": "mrn", "value": value} for value in values]
    return {"resourceType": "Patient", "identifier": [*of_mrn, {"system": "ssn", "value": other}]}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "in_conflict"),
    [
        (numbers("1"), numbers("2"), numbers("3"), True),
        (numbers(), numbers("2"), numbers("3"), True),
        (numbers("1", "5"), numbers("2", "5"), numbers("3", "5"), True),
        (numbers("1"), numbers("2"), numbers("2"), False),
        (numbers("1"), numbers("2"), numbers("1"), False),
        (numbers("1"), numbers("1"), numbers("3"), False),
        (numbers("1"), numbers("2"), numbers("1", other="y"), False),
        (numbers("1"), numbers("1", "2"), numbers("1", "3"), False),
        (numbers("1", "5"), numbers("2", "5"), numbers("1", "6"), False),
    ],
)
def test_a_number_that_both_sides_changed_is_one_number(base: Any, ours: Any, theirs: Any, in_conflict: bool) -> None:
    every_place = footprint_of(base) | footprint_of(ours)
    for footprint in (every_place, Footprint(frozenset({("identifier",)}))):
        merged = merge(base, ours, theirs, footprint)
        assert {shown(one.path) for one in merged.conflicts} == ({"identifier[mrn]"} if in_conflict else set())
        if in_conflict:
            assert merged.resource == theirs
            settled = merge(base, ours, theirs, footprint, Rulings(in_conflict=lambda _: Side.LEGACY))
            assert settled.resource == ours
        else:
            assert merge(base, theirs, ours, footprint).conflicts == ()


def test_what_both_sides_add_to_several_of_a_system_stays() -> None:
    base, ours, theirs = numbers("1"), numbers("1", "2"), numbers("1", "3")
    merged = merge(base, ours, theirs, footprint_of(base) | footprint_of(ours)).resource
    assert {one["value"] for one in merged["identifier"]} == {"1", "2", "3", "x"}


def test_what_the_server_sets_itself_is_in_no_footprint() -> None:
    resource = {"resourceType": "Patient", "id": "1", "meta": {"versionId": "2", "lastUpdated": "x"}, "active": True}
    assert footprint_of(resource).paths == {("active",)}


def test_a_field_outside_the_footprint_is_refused() -> None:
    with pytest.raises(ValueError, match="1 fields are outside the footprint: active"):
        put(BASE, footprint_of(BASE), {("active",): True})


def test_a_place_below_what_is_no_object_is_refused() -> None:
    place = ("birthDate", "text")
    with pytest.raises(ValueError, match="birthDate is no object"):
        put(BASE, Footprint(frozenset({place})), {place: "a"})


def models() -> Iterator[Any]:
    for module in pkgutil.iter_modules(fhir.resources.R4B.__path__):
        if not module.name.startswith(("_", "tests")):
            loaded = importlib.import_module(f"fhir.resources.R4B.{module.name}")
            yield from (kind for kind in vars(loaded).values() if isinstance(getattr(kind, "model_fields", None), dict))


ALIKE = {"item", "referenceSeq", "payment", "compareToSource", "page", "instantiates", "definition", "reason"}
"""Members that are no choice and look like one: a conflict that is none is all it costs, and nothing here maps them."""


def test_every_choice_of_fhir_is_known_and_hardly_anything_else_looks_like_one() -> None:
    choices, other = set(), set()
    for model in models():
        plain: dict[str, set[str]] = {}
        for name, info in model.model_fields.items():
            member = info.alias or name
            stem = (choice_of(member) or "").removesuffix("[x]")
            if choice := (info.json_schema_extra or {}).get("one_of_many"):
                choices.add((choice, stem or member))
            elif stem and "List" not in str(info.annotation):
                plain.setdefault(stem, set()).add(member)
        other |= {choice for choice, members in plain.items() if len(members) > 1}
    assert len(choices) > 50
    assert {pair for pair in choices if pair[0] != pair[1]} == set()
    assert other <= ALIKE
