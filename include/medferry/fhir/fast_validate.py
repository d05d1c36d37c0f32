"""A fast pass over FHIR resources that answers "certainly valid" or "do not know", never "invalid".

The R4B models of ``fhir.resources`` call Python at every element, which costs about a millisecond for a large resource.
Here the same models are read once per resource type and made into one schema of pydantic-core, the engine that
they themselves run on, so that a resource is walked without Python (but for the choices). What this pass does not
accept goes to the models for their verdict.

Why everything accepted here is accepted by the models (the tests try each step against them):

1. An object must be a dict and a list a list, and null is never accepted. These the models take as they are: they
   validate a dict by the element's model and a list item by item.
2. An object is accepted only if each of its keys is an element's JSON name (the models forbid others) and each value
   is accepted for that element. Whatever is not understood (``_field`` siblings, ``contained``, comments, a model with
   validators of its own, a field with constraints of its own) has a schema that accepts nothing.
3. What the models require (fields without default, ``get_required_fields``) must be there, hence is not null; of each
   choice (``get_one_of_many_fields``) at most one may be there, and exactly one of a required choice. These are the
   only rules over several elements in the models; `_as_expected` refuses a model with any other.
4. A primitive type that pydantic-core checks alone (string, code, id, uri, integer …) keeps the models' own schema,
   object for object. One that the models check in Python has a narrower pattern or type here: see `_NARROWED`.
5. Elements nest at most `_DEPTH` levels: nothing is accepted on which the models would exhaust the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

from fhir_core import types as fhir
from fhir_core.fhirabstractmodel import FHIRAbstractModel
from pydantic import TypeAdapter
from pydantic_core import CoreSchema, SchemaValidator, core_schema

_Model = type[FHIRAbstractModel]
_Object = dict[str, Any]
_Made = dict[str, CoreSchema]
"""Schemas of elements by reference; an element that occurs in many places is made once."""

_Choice = tuple[frozenset[str], int]
"""The elements of which one may be there, and the least number of them: 0, or 1 when the choice is required."""

_DEPTH = 5
"""``Patient.contact.telecom.extension.valueCodeableConcept.coding`` is five levels below the resource."""

_CONFIG = {"extra": "forbid", "validate_assignment": True, "populate_by_name": True}
"""The configuration of all models that the argument above holds for."""


class _Nothing:
    """A class without instances."""


_DO_NOT_KNOW = core_schema.is_instance_schema(_Nothing)


def certainly_valid(model: _Model, resource: Mapping[str, Any]) -> bool:
    """True only for resources that `model`, a resource's R4B model, accepts; False says nothing."""
    return _validator(model).isinstance_python(resource)


@cache
def _validator(model: _Model) -> SchemaValidator:
    made: _Made = {}
    resource_type = core_schema.literal_schema([model.get_resource_type()])
    schema = _object(model, _DEPTH, made, resourceType=core_schema.typed_dict_field(resource_type, required=True))
    return SchemaValidator(core_schema.definitions_schema(schema, list(made.values())))


# -- objects -------------------------------------------------------------------------------------------


def _object(model: _Model, depth: int, made: _Made, **more: core_schema.TypedDictField) -> CoreSchema:
    """An object of `model` with at most `depth` levels of elements below it; `more` are fields besides the model's."""
    if not _as_expected(model):
        return _DO_NOT_KNOW
    required, choices = _rules(model)
    fields = {
        field.alias: core_schema.typed_dict_field(
            _DO_NOT_KNOW if field.metadata else _value(field.annotation, depth, made),
            required=field.is_required() or field.alias in required,
        )
        for field in model.model_fields.values()
        if field.alias
    }
    plain = core_schema.typed_dict_schema(fields | more, strict=True, extra_behavior="forbid")
    return core_schema.no_info_after_validator_function(_checked(choices), plain) if choices else plain


def _as_expected(model: _Model) -> bool:
    """Whether `model` has just the validators and the configuration that all models inherit."""
    own, inherited = model.__pydantic_decorators__, FHIRAbstractModel.__pydantic_decorators__
    return (
        model.model_config == _CONFIG
        and own.model_validators.keys() == inherited.model_validators.keys()
        and not (own.field_validators or own.validators or own.root_validators)
    )


@cache
def _rules(model: _Model) -> tuple[frozenset[str], list[_Choice]]:
    """The required primitive elements and the choices of a model."""
    blank = model.model_construct()
    required = frozenset(name for name, _ in blank.get_required_fields())
    return required, [_choice(model, names) for names in blank.get_one_of_many_fields().values()]


def _choice(model: _Model, names: list[str]) -> _Choice:
    fields = [model.model_fields[name] for name in names]
    extra: Any = fields[0].json_schema_extra
    return frozenset(field.alias or "" for field in fields), int(extra["one_of_many_required"] is True)


def _checked(choices: list[_Choice]) -> Callable[[_Object], _Object]:
    def check(value: _Object) -> _Object:
        for names, least in choices:
            if not least <= len(names.intersection(value)) <= 1:
                raise ValueError
        return value

    return check


# -- values --------------------------------------------------------------------------------------------


def _value(annotation: Any, depth: int, made: _Made) -> CoreSchema:
    """A value of one field: a model's annotation without its ``| None``, for a null may stand for many things."""
    inner = [argument for argument in get_args(annotation) if argument is not NoneType]
    if NoneType in get_args(annotation) and len(inner) == 1:
        return _value(inner[0], depth, made)
    if get_origin(annotation) is list:
        return core_schema.list_schema(_value(inner[0], depth, made), strict=True)
    if isinstance(annotation, type) and issubclass(annotation, fhir.FhirBase):
        exact = annotation.__bases__ == (fhir.FhirBase,)  # others (ResourceType) take many models
        return _element(annotation.get_model_klass(), depth - 1, made) if exact and depth else _DO_NOT_KNOW
    return _NARROWED.get(annotation) or _native(annotation)


def _element(model: _Model, depth: int, made: _Made) -> CoreSchema:
    reference = f"{model.__module__}.{model.__name__} {depth}"
    if reference not in made:
        schema: Any = {**_object(model, depth, made), "ref": reference}
        made[reference] = schema
    return core_schema.definition_reference_schema(reference)


@cache
def _native(annotation: Any) -> CoreSchema:
    """The models' own schema of a primitive type when pydantic-core alone checks it."""
    schema = TypeAdapter(annotation).core_schema
    return schema if schema["type"] in {"bool", "int", "str"} else _DO_NOT_KNOW


def _text(pattern: str) -> CoreSchema:
    return core_schema.str_schema(strict=True, pattern=f"^(?:{pattern})$")


_YEAR = "[12][0-9]{3}"
_LEAP_YEAR = "[12][0-9](?:0[48]|[2468][048]|[13579][26])"  # centuries are left to the models
_MONTH = "(?:0[1-9]|1[0-2])"
_DAY = (
    f"(?:{_YEAR}-(?:{_MONTH}-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    f"|{_LEAP_YEAR}-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_INSTANT = f"{_DAY}T{_TIME}(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"

_NARROWED: dict[Any, CoreSchema] = {
    fhir.DateType: _text(f"{_YEAR}(?:-{_MONTH})?|{_DAY}"),
    fhir.DateTimeType: _text(f"{_YEAR}(?:-{_MONTH})?|{_DAY}|{_INSTANT}"),
    fhir.InstantType: _text(_INSTANT),
    fhir.TimeType: _text(_TIME),
    fhir.Base64BinaryType: _text("(?:[A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{2}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)"),
    fhir.UrlType: _text("https?://[A-Za-z][A-Za-z0-9.-]*(?:/[A-Za-z0-9._~/-]*)?"),
    # Strict refuses booleans; without the class, whatever converts to a float would do.
    fhir.DecimalType: core_schema.chain_schema(
        [core_schema.is_instance_schema((int, float)), core_schema.float_schema(strict=True, allow_inf_nan=False)]
    ),
}
"""The primitive types that the models check in Python, each narrowed to forms that surely pass: days of the calendar
from 1000 to 2999, no leap seconds, six digits of a second, zones to 13:59, unwrapped base64, plain web addresses, and
finite numbers (Python prints them as FHIR's regex wants)."""
