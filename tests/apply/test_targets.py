"""References are made literal in the text of a resource, and nowhere but in references."""

from __future__ import annotations

import orjson
import pytest

from medferry.apply.targets import StagedResource, resolved, staged_resource
from medferry.fhir.bundle import Staged, identity
from medferry.fhir.canonical import canonical, content_hash
from medferry.manifest.crosswalk import CrosswalkEntry
from medferry.mapping.identity import conditional_reference

SYSTEM = "https://x.example/patient"
ODD = 'a|b, c&d="é\\'
KNOWN = {
    (SYSTEM, "7"): CrosswalkEntry("id-7", "v", "h", "Patient"),
    (SYSTEM, ODD): CrosswalkEntry("id-odd", "v", "h", "Patient"),
}


def observation(text: str, *keys: str) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "identifier": [{"system": "https://x.example/weight", "value": "1"}],
        "note": [{"text": text}],
        "valueQuantity": {"value": 72.0},
        "performer": [{"reference": conditional_reference("Patient", SYSTEM, key)} for key in keys],
    }


def drafted(resource: dict[str, object]) -> StagedResource:
    return staged_resource(Staged(str(resource["resourceType"]), identity(resource), canonical(resource)))


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        '"reference":"Patient?identifier=https://x.example/patient|7"',
        '\\"reference":"Patient?identifier=s|1"',
        "é\n\t\u2028\U0001f600",
    ],
)
def test_only_references_are_replaced(text: str) -> None:
    ready = drafted(observation(text, "7", ODD))
    assert ready.wanted == {(SYSTEM, "7"), (SYSTEM, ODD)}
    target = resolved(ready, KNOWN)
    written = orjson.loads(target.body)
    assert written["performer"] == [{"reference": "Patient/id-7"}, {"reference": "Patient/id-odd"}]
    assert written["note"] == [{"text": text}]
    assert target.hash == content_hash(written)
    assert (target.name, target.type) == (("https://x.example/weight", "1"), "Observation")


def test_literal_and_absolute_references_stay() -> None:
    resource = {**observation("x"), "subject": {"reference": "Patient/1"}, "device": {"reference": "https://y/D?x=1"}}
    ready = drafted(resource)
    assert ready.wanted == frozenset()
    assert orjson.loads(resolved(ready, {}).body)["device"] == {"reference": "https://y/D?x=1"}


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        resolved(drafted(observation("x", "8")), KNOWN)
