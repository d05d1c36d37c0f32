"""Whatever a mapping yields, and however it ends: it is the outcome of its own row, told by file and line."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from medferry.definition.words import source_words
from medferry.fhir.validate import problems
from medferry.mapping import Context, mapping
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import Resource, Row
from medferry.mapping.identity import Naming
from medferry.mapping.outcomes import Disposition
from medferry.mapping.values import zone_of

NAMING = Naming("https://x.example", "m")
SECRET = "Byron"


def mapped(
    function: Callable[[Row, Context], Any],
    produces: dict[str, str] | None = None,
    row: Row | None = None,
    key: str = "7",
) -> MappedRow:
    spec = mapping(entity="e", version="1", owner="o", produces=produces or {"main": "Patient"})(function)
    settings = MappingSettings(NAMING, zone_of("Europe/Berlin"), {}, {"e": spec}, words=source_words([Path(__file__)]))
    return apply_mapping(spec, row or {"family": SECRET}, key, settings)


def recursive(row: Row, ctx: Context) -> Iterator[Any]:
    made = ctx.resource()
    made["extension"] = [made]
    yield made


def changed_after_the_yield(row: Row, ctx: Context) -> Iterator[Any]:
    made = ctx.resource()
    yield made
    made["birthDate"] = date(1980, 1, 2)


def without_end(row: Row, ctx: Context) -> Iterator[Any]:
    while True:
        yield ctx.resource()


def calls_itself(row: Row, ctx: Context) -> Iterator[Any]:
    yield from calls_itself(row, ctx)


def ends_the_program(row: Row, ctx: Context) -> Iterator[Any]:
    yield ctx.resource()
    sys.exit(row["family"])


def writes_to_the_row(row: Any, ctx: Context) -> Iterator[Any]:
    row.pop("family")
    yield ctx.resource()


def fails_after_the_yield(row: Row, ctx: Context) -> Iterator[Any]:
    yield ctx.resource()
    raise KeyError(row["family"])


def yields(**more: Any) -> Callable[[Row, Context], Iterator[Any]]:
    def function(row: Row, ctx: Context) -> Iterator[Any]:
        yield {**ctx.resource(), **more}

    return function


def yields_only(thing: Any) -> Callable[[Row, Context], Iterator[Any]]:
    def function(row: Row, ctx: Context) -> Iterator[Any]:
        yield thing

    return function


def extension(value: Any) -> Callable[[Row, Context], Iterator[Any]]:
    return yields(extension=[{"url": "http://x.example/e", "valueDecimal": value}])


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"extension": [made]}
    return made


ODD: dict[str, tuple[Callable[[Row, Context], Any], str]] = {
    "nothing": (yields_only(None), "nothing instead of a resource"),
    "a list": (yields_only([{"resourceType": "Patient"}]), "a list instead of a resource"),
    "a text": (yields_only(SECRET), "a str instead of a resource"),
    "no type": (yields_only({}), "a bare dict: make it with ctx.resource"),
    "another type": (yields(resourceType="Practitioner"), "a type that the mapping does not declare"),
    "a type that is none": (yields(resourceType=[SECRET]), "a type that the mapping does not declare"),
    "no identifier": (yields(identifier=None), "without an identifier"),
    "an empty list of identifiers": (yields(identifier=[]), "whose first identifier is not"),
    "identifiers that are none": (yields(identifier=[SECRET]), "whose first identifier is not"),
    "an identifier where a list belongs": (yields(identifier={"value": SECRET}), "whose identifier is not a list"),
    "another row's key": (
        yields(identifier=[{"system": "https://x.example/e", "value": SECRET}]),
        "whose first identifier is not",
    ),
    "an identifier of others first": (
        yields(identifier=[{"value": SECRET}, {"system": "https://x.example/e", "value": "7"}]),
        "whose first identifier is not",
    ),
    "two of its own system": (
        yields(identifier=[{"system": "https://x.example/e", "value": value} for value in ("7", SECRET)]),
        "a second identifier of its own system",
    ),
    "a Decimal": (extension(Decimal("1.5")), "a Decimal in extension.0.valueDecimal"),
    "NaN": (extension(math.nan), "not finite in extension.0.valueDecimal"),
    "infinity": (extension(math.inf), "not finite in extension.0.valueDecimal"),
    "an integer beyond a double": (extension(2**53 + 1), "a double cannot keep in extension.0.valueDecimal"),
    "an integer beyond 64 bits": (extension(2**70), "a double cannot keep in extension.0.valueDecimal"),
    "a set": (yields(name={SECRET}), "a set in name"),
    "a date": (yields(birthDate=date(1980, 1, 2)), "a date in birthDate"),
    "a datetime": (yields(birthDate=datetime(1980, 1, 2, tzinfo=UTC)), "a datetime in birthDate"),
    "bytes": (yields(birthDate=SECRET.encode()), "a bytes in birthDate"),
    "an object": (yields(birthDate=object()), "a object in birthDate"),
    "a key that is no text": (yields(name=[{7: SECRET}]), "a key that is no text in name.0"),
    "a key with half a pair": (yields(name=[{"\ud800": 1}]), "a key that is no text in name.0"),
    "half a pair": (yields(name=[{"family": "\ud800"}]), "half a surrogate pair in name.0.family"),
    "below a value for a name": (yields(name=[{f"{SECRET} 1": {1}}]), "a set in name.0.?"),
    "itself": (recursive, "nest more than 100 deep, in extension.0"),
    "too deep": (yields(extension=[deep(200)]), "nest more than 100 deep"),
    "a slot twice": (lambda _, ctx: [ctx.resource(), ctx.resource()], "a second resource for the slot main"),
    "one without end": (without_end, "a second resource for the slot main"),
    "changed after the yield": (changed_after_the_yield, "a date in birthDate"),
    "returns a resource": (lambda _, ctx: ctx.resource(), "returns a dict: it must yield resources"),
    "returns nothing": (lambda *_: None, "returns nothing: it must yield resources"),
    "returns a text": (lambda *_: SECRET, "returns a str: it must yield resources"),
    "returns a number": (lambda *_: 7, "returns a int: it must yield resources"),
    "fails": (lambda row, _: row["familly"], "the row has no column familly; did you mean family?"),
    "asks for a column by a value": (lambda row, _: row[row["family"]], "the row has no such column"),
    "fails in a table of its own": (lambda row, _: {}[row["family"]], "KeyError"),
    "fails after the yield": (fails_after_the_yield, "KeyError"),
    "calls itself for ever": (calls_itself, "RecursionError"),
    "skips with a value for a reason": (lambda row, ctx: ctx.skip(f"{row['family']} !"), "ValueError"),
    "ends the program": (ends_the_program, "SystemExit"),
    "writes to its row": (writes_to_the_row, "AttributeError"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_row_is_quarantined_with_its_place_and_without_its_value(name: str) -> None:
    function, told = ODD[name]
    row = mapped(function)
    assert (row.disposition, row.reason) == ("quarantined", "mapping-error")
    assert told in row.place
    assert SECRET not in row.place
    assert ".py:" in row.place
    assert row.resources == ()


@pytest.mark.parametrize(
    "said",
    [
        lambda row, ctx: ctx.quarantine("bad", row["family"]),
        lambda row, ctx: ctx.date("2020-02-30", row["family"]),
        lambda row, ctx: ctx.finding("bad", row["family"]) or [ctx.resource()],
        lambda row, ctx: ctx.finding("bad", f"{row['family']}:sex") or [ctx.resource()],
        lambda row, ctx: ctx.text("\x01a", row["family"]) and [ctx.resource()],
    ],
)
def test_a_value_in_the_place_of_a_columns_name_is_told_to_nobody(said: Any) -> None:
    def function(row: Row, ctx: Context) -> Any:
        made = said(row, ctx)
        if isinstance(made, Exception):
            raise made
        return made

    row = mapped(function)
    assert SECRET not in repr(row)
    assert row.disposition == "pending" or "value of the row where the name of its column belongs" in row.place


def test_a_columns_name_stays_also_where_a_value_reads_the_same() -> None:
    row = mapped(lambda _, ctx: ctx.finding("bad", "family") or [ctx.resource()], row={"family": "e", "kind": "family"})
    assert [found.field for found in row.findings] == ["family"]


def test_the_line_is_that_of_the_yield() -> None:
    row = mapped(recursive)
    assert row.place.startswith(f"test_yielded.py:{recursive.__code__.co_firstlineno + 3} ")


def test_what_json_keeps_is_left_as_it_is() -> None:
    kept = [2**53, -(2**60), 10**17, -0.0, 1e300, 0.1, True, "null", "ä"]
    row = mapped(yields(extension=kept))
    assert row.place == ""
    assert row.resources[0]["extension"] == kept


@pytest.mark.parametrize("kind", ["QuestionnaireResponse", "Composition", "Bundle"])
def test_a_type_of_one_identifier_is_named_by_an_object(kind: str) -> None:
    row = mapped(lambda _, ctx: [ctx.resource(status="completed")], {"main": kind})
    assert row.resources[0]["identifier"] == {"system": "https://x.example/e", "value": "7"}
    if kind == "QuestionnaireResponse":
        assert problems(row.resources[0]) == []
    more = mapped(lambda _, ctx: [ctx.resource(identifier=[{"value": SECRET}])], {"main": kind})
    assert "has room for one identifier" in more.place
    listed = mapped(lambda _, ctx: [{**ctx.resource(), "identifier": [ctx.resource()["identifier"]]}], {"main": kind})
    assert "whose identifier is not one object" in listed.place


def test_a_type_without_identifiers_is_named_by_its_first_tag() -> None:
    row = mapped(lambda _, ctx: [ctx.resource()], {"main": "Provenance"})
    tag = {"system": "https://x.example/e", "code": "7"}
    assert row.resources[0]["meta"]["tag"] == [tag, {"system": "urn:medferry:migration", "code": "m"}]
    assert "identifier" not in row.resources[0]
    for tags, told in (([NAMING.tag, tag], "whose first tag is not"), ([tag, {**tag, "code": SECRET}], "a second tag")):
        meta = {"source": "https://x.example/e", "tag": tags}
        odd = mapped(lambda _, ctx, meta=meta: [{**ctx.resource(), "meta": meta}], {"main": "Provenance"})
        assert told in odd.place


@pytest.mark.parametrize("key", [" 7", "7 ", "7  8"])
def test_a_key_that_no_tag_can_hold_is_told(key: str) -> None:
    row = mapped(lambda _, ctx: [ctx.resource()], {"main": "Provenance"}, key=key)
    assert (row.disposition, row.reason) == (Disposition.QUARANTINED, "key-is-no-code")
    assert mapped(lambda _, ctx: [ctx.resource()], {"main": "Patient"}, key=key).reason == ""


def test_two_slots_of_one_type_are_told_apart_by_their_systems() -> None:
    def both(row: Row, ctx: Context) -> Iterator[Resource]:
        yield ctx.resource()
        yield ctx.resource("other")

    assert len(mapped(both, {"main": "Patient", "other": "Patient"}).resources) == 2
