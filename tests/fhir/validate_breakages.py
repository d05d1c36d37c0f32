"""Ways to break a FHIR resource, each tried at every place where it fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

Path = tuple[str | int, ...]
Change = tuple[str, Any]
"""The kind of a breakage and what it makes of a value."""

ANYWHERE: dict[str, Any] = {
    "null": None,
    "empty text": "",
    "blank": " ",
    "non-breaking space": "\u00a0",
    "control character": "\x07",
    "vertical tab": "\x0b",
    "information separator": "\x1c",
    "lone surrogate": "a\ud800",
    "zero": 0,
    "minus one": -1,
    "33 bits": 2**31,
    "33 bits below zero": -(2**31) - 1,
    "65 bits": 2**64,
    "four hundred digits": 10**400,
    "fraction": 1.5,
    "whole float": 1.0,
    "tiny": 1e-300,
    "infinity": float("inf"),
    "not a number": float("nan"),
    "true": True,
    "false": False,
    "boolean as text": "true",
    "integer as text": "1",
    "decimal as text": "1.50",
    "empty list": [],
    "list of null": [None],
    "list of a list": [[]],
    "list of an empty object": [{}],
    "list of text": ["a"],
    "empty object": {},
    "foreign object": {"nickname": "a"},
    "key that is no text": {1: "a"},
    "bytes": b"a",
    "tuple": ({},),
    "Decimal": Decimal("1.5"),
    "Decimal that is none": Decimal("NaN"),
    "Python date": date(2024, 2, 1),
    "Python time without zone": datetime(2024, 2, 1),  # noqa: DTZ001
    "Python time": datetime(2024, 2, 1, tzinfo=UTC),
    "something else": object(),
}

TEXTS: dict[str, str] = {
    "30 February": "2024-02-30",
    "29 February": "2024-02-29",
    "29 February in no leap year": "2023-02-29",
    "29 February 1900": "1900-02-29",
    "31 April": "2024-04-31",
    "month 13": "2024-13-01",
    "day 0": "2024-01-00",
    "year 0": "0000-01-01",
    "two-digit year": "24-01-01",
    "one-digit month": "2024-1-01",
    "year": "2024",
    "year and month": "2024-02",
    "date": "2024-02-01",
    "date of other digits": "\u0662\u0660\u0662\u0664-02-01",
    "date and line feed": "2024-02-01\n",
    "date with zone": "2024-02-01Z",
    "time without zone": "2024-02-01T10:00:00",
    "time without seconds": "2024-02-01T10:00Z",
    "time after a space": "2024-02-01 10:00:00Z",
    "hour 24": "2024-02-01T24:00:00Z",
    "minute 60": "2024-02-01T10:60:00Z",
    "leap second": "2016-12-31T23:59:60Z",
    "small z": "2024-02-01T10:00:00z",
    "zone without colon": "2024-02-01T10:00:00+0100",
    "zone 14:00": "2024-02-01T10:00:00+14:00",
    "zone 14:30": "2024-02-01T10:00:00+14:30",
    "zone -15:00": "2024-02-01T10:00:00-15:00",
    "ten digits of a second": "2024-02-01T10:00:00.1234567890Z",
    "no digit of a second": "2024-02-01T10:00:00.Z",
    "instant on 30 February": "2024-02-30T10:00:00Z",
    "year 9999": "9999-12-31T23:59:59-13:59",
    "time of day": "10:00:00",
    "time of day without seconds": "10:00",
    "hour 25": "25:00:00",
    "time of day with zone": "10:00:00Z",
    "two spaces inside": "a  b",
    "space inside": "a b",
    "space before": " a",
    "space after": "a ",
    "line feed after": "a\n",
    "underscore": "a_b",
    "65 characters": "a" * 65,
    "256 characters": "a" * 256,
    "not base64": "!!!!",
    "base64 cut off": "YWJ",
    "base64 in lines": "YWJj\nYWJj",
    "base64 padded twice": "YQ==YQ==",
    "url of nothing": "http://",
    "url of an open bracket": "http://[::1",
    "url with a space": "http://a b/",
    "port too high": "http://a:99999/",
    "relative reference": "Patient/1",
    "reference with a space": "Patient/ 1",
    "reference to a contained resource": "#a",
    "urn": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
    "oid": "urn:oid:1.2.3",
    "wrong oid": "urn:oid:9.01",
    "exponent": "1e3",
    "plus sign": "+1",
    "leading zero": "01",
    "markup": "<div>",
    "null in a word": "a\x00b",
    "upper case": "MALE",
}

MEMBERS: dict[str, Any] = {
    "unknown property": ("nickname", "a"),
    "null property": ("text", None),
    "Python name": ("class_fhir", {}),
    "Python name of a sibling": ("status__ext", {}),
    "resource type of another": ("resourceType", "Basic"),
    "resource type in Python": ("resource_type", "Basic"),
    "comment": ("fhir_comments", "a"),
    "comment of a wrong type": ("fhir_comments", 1),
    "contained": ("contained", [{"resourceType": "Patient"}]),
    "contained and wrong": ("contained", [{"resourceType": "Patient", "gender": 1}]),
    "contained of no type": ("contained", [{"resourceType": "Spaceship"}]),
    "id": ("id", "a b"),
    "narrative": ("text", {"status": "generated", "div": "<div/>"}),
    "narrative without text": ("text", {"status": "generated"}),
    "extension": ("extension", [{"url": "a", "valueString": "a"}]),
    "extension without url": ("extension", [{"valueString": "a"}]),
    "extension with two values": ("extension", [{"url": "a", "valueString": "a", "valueBoolean": True}]),
    "extension with a wrong value": ("extension", [{"url": "a", "valueDate": "2024-02-30"}]),
    "extension without value": ("extension", [{"url": "a"}]),
    "extension as object": ("extension", {"url": "a"}),
    "modifier extension": ("modifierExtension", [{"url": "a", "valueCode": " "}]),
    "meta": ("meta", {"lastUpdated": "2024-02-01"}),
    "identifier of an assigner of an identifier": (
        "identifier",
        [{"assigner": {"identifier": {"assigner": {"identifier": {"period": {"start": "2024-02-30"}}}}}}],
    ),
    **{
        f"also {name}": (name, value)
        for name, value in {
            "valueString": "a",
            "valueBoolean": True,
            "valueQuantity": {"value": 1},
            "valueInteger": 1,
            "effectiveInstant": "2024-02-01T10:00:00Z",
            "effectiveDateTime": "2024-02-01",
            "onsetString": "a",
            "onsetDateTime": "2024-02-01",
            "abatementString": "a",
            "deceasedBoolean": True,
            "deceasedDateTime": "2024-02-01",
            "multipleBirthBoolean": True,
            "multipleBirthInteger": 2,
            "occurrenceString": "a",
            "occurrenceDateTime": "2024-02-01",
            "performedString": "a",
            "performedPeriod": {},
            "timingTiming": {},
            "timingDateTime": "2024-02-01",
            "medicationReference": {"reference": "a"},
            "medicationCodeableConcept": {"text": "a"},
            "authorString": "a",
            "authorReference": {},
            "asNeededBoolean": True,
            "asNeededCodeableConcept": {},
            "doseQuantity": {"value": 1},
            "doseRange": {},
            "boundsPeriod": {},
            "boundsDuration": {},
            "itemReference": {},
            "itemCodeableConcept": {},
        }.items()
    },
}


def nested_extension(levels: int) -> dict[str, Any]:
    """An extension of extensions, `levels` deep."""
    extension: dict[str, Any] = {"url": "a", "valueString": "a"}
    for _ in range(levels - 1):
        extension = {"url": "a", "extension": [extension]}
    return extension


def changes(value: Any) -> Iterator[Change]:
    """Everything that can be made of a value, by kind. The value itself is left as it is."""
    yield from ANYWHERE.items()
    yield "list of it", [value]
    yield "object of it", {"value": value}
    if isinstance(value, dict):
        yield from _of_object(value)
    elif isinstance(value, list):
        yield from _of_list(value)
    else:
        yield "as text", str(value)
        yield from TEXTS.items()
    if isinstance(value, str):
        yield "control character inside", f"{value}\x07"
        yield "space at both ends", f" {value} "
        yield "twenty thousand characters", value * (20_000 // max(len(value), 1))


def _of_object(value: dict[str, Any]) -> Iterator[Change]:
    yield "object as JSON text", json.dumps(value, default=str)
    yield "object as pairs", list(value.items())
    for kind, (name, member) in MEMBERS.items():
        yield kind, {**value, name: member}
    for levels in (2, 6, 40):
        yield f"extension of {levels} levels", {**value, "extension": [nested_extension(levels)]}
    for name in value:
        rest = {key: member for key, member in value.items() if key != name}
        yield "missing element", rest
        yield "element by another name", {**rest, f"{name}_": value[name]}
        yield "element of another case", {**rest, name.upper(): value[name]}
        yield "sibling instead", {**rest, f"_{name}": {"extension": [{"url": "a", "valueString": "a"}]}}
        yield "sibling without content instead", {**rest, f"_{name}": {}}
        yield "sibling", {**value, f"_{name}": {"id": "a"}}
        yield "null sibling", {**value, f"_{name}": None}
        yield "sibling list", {**value, f"_{name}": [None]}


def _of_list(value: list[Any]) -> Iterator[Change]:
    yield "list as object", {str(number): item for number, item in enumerate(value)}
    yield "list as its items", value[0] if len(value) == 1 else None
    yield "list and null", [*value, None]
    yield "list and text", [*value, "a"]
    yield "list and empty object", [*value, {}]
    yield "list and list", [*value, value]
    yield "list twice", value * 2


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value inside `value`, itself first, with the way to it."""
    yield path, value
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inside:
        yield from places(item, (*path, step))


def changed(resource: dict[str, Any], path: Path, value: Any) -> Any:
    """A copy of `resource` (shallow but for the way) with `value` at `path`."""
    if not path:
        return value
    copy: Any = resource.copy()
    copy[path[0]] = changed(copy[path[0]], path[1:], value)
    return copy
