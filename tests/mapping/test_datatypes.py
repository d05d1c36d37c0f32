"""FHIR's data types: of what is missing nothing is left, and what says nothing is none."""

from __future__ import annotations

from medferry.mapping.datatypes import (
    UCUM,
    address,
    coding,
    concept,
    contact_point,
    element,
    human_name,
    identifier,
    period,
    present,
    quantity,
)

_NOTHING = (None, "")


def test_what_has_no_part_is_none() -> None:
    for nothing in _NOTHING:
        assert element(a=nothing, b=[], c={}) is None
        assert coding("http://x", nothing, "shown") is None
        assert concept(None, text=nothing) is None
        assert identifier("http://x", nothing, use="official") is None
        assert contact_point("phone", nothing, "home") is None
        assert human_name(nothing, nothing, use="official") is None
        assert address(nothing, city=nothing, country="US", use="home") is None
        assert period(nothing, nothing) is None
    assert quantity(None, "kg", "<") is None
    assert present(None, "", [], {}) == []


def test_zero_and_false_say_something() -> None:
    assert element(a=0, b=False) == {"a": 0, "b": False}
    assert present(0, False, None) == [0, False]
    assert quantity(0, "kg") == {"value": 0, "unit": "kg", "system": UCUM, "code": "kg"}


def test_the_parts_that_are_there_are_kept() -> None:
    assert element(class_={"code": "AMB"}) == {"class": {"code": "AMB"}}
    assert coding("http://x", "a") == {"system": "http://x", "code": "a"}
    assert concept(None, coding("http://x", "a"), text="A") == {
        "coding": [{"system": "http://x", "code": "a"}],
        "text": "A",
    }
    assert identifier("http://x", "1", concept(text="MRN")) == {
        "type": {"text": "MRN"},
        "system": "http://x",
        "value": "1",
    }
    assert contact_point("phone", "1", "home") == {"system": "phone", "value": "1", "use": "home"}
    assert human_name("F", None, "G", suffix="Jr") == {"family": "F", "given": ["G"], "suffix": ["Jr"]}
    assert address(None, "1 St", city="B", country="US", use="home") == {
        "use": "home",
        "line": ["1 St"],
        "city": "B",
        "country": "US",
    }
    assert period(None, "2020") == {"end": "2020"}
    litres = {"system": UCUM, "code": "L", "display": "litre"}
    assert quantity(1.5, litres, "<") == {
        "value": 1.5,
        "comparator": "<",
        "unit": "litre",
        "system": UCUM,
        "code": "L",
    }
    assert quantity(1.5) == {"value": 1.5}
