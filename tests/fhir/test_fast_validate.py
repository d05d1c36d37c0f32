"""Each step of the argument why the fast pass is sound, tried against the models and against pydantic's schemas."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any

import pytest
from fhir.resources.R4B import fhirtypes, get_fhir_model_class
from fhir_core import types as fhir
from fhir_core.fhirabstractmodel import FHIRAbstractModel
from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

from medferry.fhir import fast_validate as fast
from medferry.fhir.validate import problems
from tests.fhir.validate_breakages import ANYWHERE, TEXTS, nested_extension

Resource = dict[str, Any]


def accepted(resource: Resource) -> bool:
    return fast.certainly_valid(get_fhir_model_class(resource["resourceType"]), resource)


# -- primitive types -----------------------------------------------------------------------------------


@cache
def _narrowed(kind: Any) -> SchemaValidator:
    return SchemaValidator(fast._NARROWED[kind])


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _models_accept(kind: Any, value: Any) -> bool:
    try:
        _adapter(kind).validate_python(value)
    except (ValueError, TypeError, ArithmeticError):
        return False
    return True


def _days() -> Iterator[str]:
    """Every day of the calendar and many that are none."""
    for year in (0, 1, 999, 1000, 1600, 1899, 1900, 1999, 2000, 2023, 2024, 2096, 2100, 2999, 3000, 9999):
        yield from (f"{year:04}-{month:02}-{day:02}" for month in range(14) for day in range(33))


def _grown(kind: Any) -> Iterator[Any]:
    """Values of a kind's own form, with a character changed, added or left out at random places."""
    dice = random.Random(str(kind))
    for seed in SEEDS[kind]:
        for _ in range(400):
            characters = list(seed)
            for _ in range(dice.randint(0, 2)):
                at = dice.randrange(len(characters) + 1)
                characters[at : at + dice.randint(0, 1)] = dice.choice(["", *"0123456789TZ:+-. /=aZ_\u0663\n\x00"])
            yield "".join(characters)


SEEDS: dict[Any, list[str]] = {
    fhir.DateType: ["2024", "2024-02", "2024-02-28", "1987-12-31"],
    fhir.DateTimeType: ["2024-02", "2024-02-28", "2024-02-29T23:59:59.123456+13:59", "1970-01-01T00:00:00Z"],
    fhir.InstantType: ["2024-02-29T23:59:59.123456-13:00", "1970-01-01T00:00:00Z"],
    fhir.TimeType: ["00:00:00", "23:59:59.999"],
    fhir.Base64BinaryType: ["YWJj", "YWI=", "YQ==", "YWJjZGVm"],
    fhir.UrlType: ["https://a.example/b/c.d", "http://a", "ftp://a"],
    fhir.DecimalType: ["1.5"],
}


def test_every_narrowed_type_has_seeds() -> None:
    assert SEEDS.keys() == fast._NARROWED.keys()


@pytest.mark.parametrize("kind", SEEDS, ids=lambda kind: kind.__metadata__[-1].__visit_name__)
def test_a_narrowed_type_accepts_nothing_that_the_models_refuse(kind: Any) -> None:
    values = [*ANYWHERE.values(), *TEXTS.values(), *_days(), *(f"{day}T10:00:00Z" for day in _days()), *_grown(kind)]
    passed = [value for value in values if _narrowed(kind).isinstance_python(value)]
    assert passed
    assert [value for value in passed if not _models_accept(kind, value)] == []


@pytest.mark.parametrize("kind", [fhir.DateType, fhir.DateTimeType])
def test_every_year_from_1000_to_2999_passes(kind: Any) -> None:
    passed = {year for year in range(10_000) if _narrowed(kind).isinstance_python(f"{year:04}")}
    assert passed == set(range(1000, 3000))
    assert all(_models_accept(kind, f"{year:04}-02") for year in passed)


def test_every_day_passes_but_leap_days_of_centuries() -> None:
    days = [day for day in _days() if "1000" <= day < "3000" and _is_day(day)]
    left = [day for day in days if not _narrowed(fhir.DateType).isinstance_python(day)]
    assert left == ["1600-02-29", "2000-02-29"]
    assert problems({"resourceType": "Patient", "birthDate": "2000-02-29"}) == []


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "good", "unknown"),
    [
        (fhir.DateType, ["2024-02-29", "2023-02-28"], ["2023-02-29", "1900-02-29", "2024-02-01T10:00:00Z"]),
        (fhir.DateTimeType, ["2024", "2024-01-31T10:00:00.5-05:00"], ["2024-01-31T10:00:00", "2024-01-31T10:00Z"]),
        (fhir.InstantType, ["2024-01-31T10:00:00Z"], ["2024-01-31", "2024-01-31T10:00:60Z", "٢٠٢٤-01-31T10:00:00Z"]),
        (fhir.TimeType, ["10:00:00", "10:00:00.123"], ["24:00:00", "10:00", "10:00:00Z"]),
        (
            fhir.Base64BinaryType,
            [base64.b64encode(b"a" * n).decode() for n in (1, 2, 3, 4)],
            ["", "YQ", "YQ=", "YWJj\n"],
        ),
        (fhir.UrlType, ["https://a.example/b"], ["", "a", "http://", "http://a b"]),
        (fhir.DecimalType, [0, -1, 1.5, 1e300, 1e-300], [True, "1.5", float("nan"), float("inf"), 10**400, None]),
    ],
    ids=lambda value: value.__metadata__[-1].__visit_name__ if hasattr(value, "__metadata__") else "",
)
def test_what_a_narrowed_type_knows(kind: Any, good: list[Any], unknown: list[Any]) -> None:
    assert all(_narrowed(kind).isinstance_python(value) for value in good)
    assert not any(_narrowed(kind).isinstance_python(value) for value in unknown)


# -- the models are as the argument says ---------------------------------------------------------------


@cache
def _all_models() -> list[type[FHIRAbstractModel]]:
    names = [name.removesuffix("Type") for name, kind in vars(fhirtypes).items() if hasattr(kind, "get_model_klass")]
    return [get_fhir_model_class(name) for name in names]


def _leaf(schema: Any) -> Any:
    while schema["type"] in {"default", "nullable", "list"}:
        schema = schema["items_schema" if schema["type"] == "list" else "schema"]
    return schema


def test_native_primitives_keep_the_schema_of_the_models() -> None:
    counted = 0
    for model in _all_models():
        schema: Any = model.__pydantic_core_schema__
        while schema["type"] != "model-fields":
            schema = schema["schema"]
        for name, field in model.model_fields.items():
            ours: Any = fast._value(field.annotation, 0, {})
            if _leaf(ours)["type"] not in {"bool", "int", "str"} or _kind(field.annotation) in fast._NARROWED:
                continue
            theirs = schema["fields"][name]["schema"]
            assert _leaf(ours) == _leaf(theirs), (model, name)
            assert (ours["type"] == "list") == (_without_default(theirs)["type"] == "list")
            counted += 1
    assert counted > 2_000


def _without_default(schema: Any) -> Any:
    return _without_default(schema["schema"]) if schema["type"] in {"default", "nullable"} else schema


def _kind(annotation: Any) -> Any:
    """The annotated primitive inside an annotation."""
    if hasattr(annotation, "__metadata__"):
        return annotation
    inner = [_kind(argument) for argument in getattr(annotation, "__args__", ())]
    return next((kind for kind in inner if hasattr(kind, "__metadata__")), None)


def test_all_models_have_only_the_rules_that_the_fast_pass_knows() -> None:
    """An update of fhir.resources that brings a new rule must not go unnoticed. `_field` siblings have one more."""
    known = {
        "elements_sequence",
        "summary_elements_sequence",
        "get_required_fields",
        "get_one_of_many_fields",
        "relative_base",
        "relative_path",
    }
    odd = set()
    for model in _all_models():
        for base in model.__mro__[: model.__mro__.index(FHIRAbstractModel)]:
            own = {name for name, value in vars(base).items() if callable(value) or isinstance(value, classmethod)}
            own = {name for name in own if not re.match(r"__pydantic_|__signature__|_abc_|__module__", name)}
            odd |= {(base.__name__, name) for name in own - known}
        assert fast._as_expected(model) or model.__name__ == "FHIRPrimitiveExtension"
    assert odd == {("FHIRPrimitiveExtension", "validate_extension_or_fhir_comment_required")}


def test_required_elements_and_choices_name_elements_of_their_model() -> None:
    for model in _all_models():
        required, choices = fast._rules(model)
        elements = model.get_alias_mapping()
        assert required <= elements.keys()
        assert all(names <= elements.keys() for names, _ in choices)
        for prefix, names in model.model_construct().get_one_of_many_fields().items():
            extra: Any = model.model_fields[names[0]].json_schema_extra
            assert extra["one_of_many"] == prefix


# -- objects -------------------------------------------------------------------------------------------

PATIENT: Resource = {"resourceType": "Patient"}
OBSERVATION: Resource = {"resourceType": "Observation", "status": "final", "code": {"text": "a"}}


@pytest.mark.parametrize(
    "resource",
    [
        PATIENT,
        {**PATIENT, "name": [{"given": ["a", "b"], "period": {"start": "2024"}}], "deceasedBoolean": False},
        {**PATIENT, "extension": [{"url": "a", "extension": [{"url": "b", "valueCoding": {"code": "c"}}]}]},
        OBSERVATION,
        {**OBSERVATION, "valueQuantity": {"value": 1.5}, "component": [{"code": {}, "valueInteger": 1}]},
        {"resourceType": "Coverage", "status": "active", "beneficiary": {}, "payor": [{}], "class": []},
    ],
)
def test_whole_resources_are_known(resource: Resource) -> None:
    assert accepted(resource)
    assert problems(resource) == []


@pytest.mark.parametrize(
    "resource",
    [
        {**PATIENT, "active": None},
        {**PATIENT, "name": {"family": "a"}},
        {**PATIENT, "name": ({"family": "a"},)},
        {**PATIENT, "name": [{"given": ["a", None]}]},
        {**PATIENT, "_birthDate": {"id": "a"}},
        {**PATIENT, "contained": [{"resourceType": "Patient"}]},
        {**PATIENT, "fhir_comments": "a"},
        {**PATIENT, "meta": "{}"},
        {**PATIENT, "resource_type": "Patient"},
        {**OBSERVATION, "text": {"status": "generated"}},
        {"resourceType": "Observation", "code": {}, "_status": {"extension": [{"url": "a", "valueString": "b"}]}},
        {"resourceType": "Coverage", "status": "active", "beneficiary": {}, "payor": [{}], "class_fhir": []},
    ],
)
def test_what_is_not_plain_is_left_to_the_models(resource: Resource) -> None:
    assert not accepted(resource)


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        ({"resourceType": "Observation", "code": {}}, "status: "),
        ({"resourceType": "Observation", "status": "final"}, "code: "),
        ({**OBSERVATION, "valueString": "a", "valueInteger": 1}, "resource: value_error ['valueBoolean'"),
        ({"resourceType": "Immunization", "status": "completed", "vaccineCode": {}, "patient": {}}, "['occurrence"),
        ({**PATIENT, "extension": [{"valueString": "a"}]}, "url"),
        ({**PATIENT, "contained": [{"resourceType": "Spaceship"}]}, "resource: cannot be validated (KeyError)"),
        ({**PATIENT, "extension": [nested_extension(300)]}, "resource: cannot be validated (RecursionError)"),
    ],
)
def test_what_is_wrong_has_the_verdict_of_the_models(resource: Resource, told: str) -> None:
    assert not accepted(resource)
    assert told in "; ".join(problems(resource))


def test_elements_are_known_to_five_levels() -> None:
    known = [levels for levels in range(1, 20) if accepted({**PATIENT, "extension": [nested_extension(levels)]})]
    assert known == [1, 2, 3, 4, 5]
    assert problems({**PATIENT, "extension": [nested_extension(6)]}) == []


def test_a_resource_of_another_type_is_not_known() -> None:
    assert not fast.certainly_valid(get_fhir_model_class("Patient"), {"resourceType": "Basic"})
    assert not fast.certainly_valid(get_fhir_model_class("Patient"), {})
