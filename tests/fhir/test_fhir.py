"""Canonical form, references, validation."""

from __future__ import annotations

import re
from urllib.parse import unquote

import orjson
import pytest

from medferry.fhir.bundle import Staged, batch, by_name, conditional_update, read_batch
from medferry.fhir.canonical import canonical, content_hash, has_content, stored_hash
from medferry.fhir.references import parse_conditional, references
from medferry.fhir.validate import problems
from medferry.mapping.identity import conditional_reference

PATIENT = {"resourceType": "Patient", "meta": {"source": "s"}, "name": [{"family": "A"}], "multipleBirthInteger": 2}


def test_the_hash_sees_content_and_nothing_else() -> None:
    stored = {
        "meta": {"versionId": "1", "lastUpdated": "2024-01-01T00:00:00Z", "author": {}, "source": "s"},
        "id": "x",
        **{name: value for name, value in PATIENT.items() if name != "meta"},
        "multipleBirthInteger": 2.0,
    }
    assert content_hash(stored) == content_hash(PATIENT)


@pytest.mark.parametrize(
    "change", [{"name": [{"family": "B"}]}, {"meta": {"source": "t"}}, {"multipleBirthInteger": 2.5}, {"active": True}]
)
def test_the_hash_changes_with_the_content(change: dict[str, object]) -> None:
    assert content_hash({**PATIENT, **change}) != content_hash(PATIENT)


ODD_PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": "https://x.example/p", "value": 'a|b, c&d="é\\'}],
    "meta": {"tag": [{"code": "t"}], "source": "s"},
    "name": [{"text": 'x "id":"7" \\ \u2028 \n', "family": "A"}],
    "extension": [{"url": "urn:x", "valueDecimal": 1e22}],
    "multipleBirthInteger": 2,
}
SERVER = {"versionId": "1", "lastUpdated": "2024-01-01T00:00:00Z", "author": {"display": "d"}, "project": "p"}


def stored(**change: object) -> bytes:
    """As Medplum gives it back: with an id, its own meta, members in another order."""
    return orjson.dumps({"id": "x", "meta": {**SERVER, **ODD_PATIENT["meta"]}, **change, **ODD_PATIENT} | change)


@pytest.mark.parametrize(
    ("sent", "printed"),
    [
        (72.0, "72"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1.8446744e19, "18446744000000000000"),
        (-1.8446744e19, "-18446744000000000000"),
        (2.0**63, "9223372036854776000"),
        (-(2.0**63), "-9223372036854776000"),
        (2**53, "9007199254740992"),
        (5e-324, "5e-324"),
    ],
)
def test_a_number_is_what_javascript_prints_of_it(sent: float, printed: str) -> None:
    stored = b'{"resourceType":"Basic","n":{"value":%b},"meta":{"versionId":"1"},"id":"7"}' % printed.encode()
    assert has_content(stored, canonical({"resourceType": "Basic", "n": {"value": sent}}))
    assert stored_hash(stored) == content_hash({"resourceType": "Basic", "n": {"value": sent}})
    assert not has_content(stored, canonical({"resourceType": "Basic", "n": {"value": sent * 1.5}}))


@pytest.mark.parametrize(
    "text",
    [
        stored(),
        stored().replace(b'"tag":[{"code":"t"}],"source":"s"', b'"source":"s","tag":[{"code":"t"}]'),
        stored().replace(b"1e22", b"1e+22"),
        stored().replace(b'{"code":"t"}', b'{ "code" : "t" }'),
        orjson.dumps(dict(reversed(orjson.loads(stored()).items()))),
    ],
)
def test_what_the_server_adds_and_reorders_is_the_same_content(text: bytes) -> None:
    assert has_content(text, canonical(ODD_PATIENT))


@pytest.mark.parametrize(
    "text",
    [
        stored(multipleBirthInteger=3),
        stored(active=True),
        stored().replace(b'"source":"s"', b'"source":"t"'),
        stored().replace(b'"family":"A"', b'"family":"B"'),
        stored().replace(b',"multipleBirthInteger":2', b""),
        stored().replace(b'{"code":"t"}', b'{"code":"t"},{"code":"u"}'),
    ],
)
def test_any_other_content_is_seen(text: bytes) -> None:
    assert text != stored()
    assert not has_content(text, canonical(ODD_PATIENT))


def test_a_bundle_is_read_back_as_it_was_made() -> None:
    name = ("https://x.example/p", 'a|b, c&d="é\\')
    entries = [conditional_update(resource) for resource in (ODD_PATIENT, {**ODD_PATIENT, "active": True})]
    bundle = batch(entries)
    assert orjson.loads(bundle)["entry"][0]["resource"] == orjson.loads(canonical(ODD_PATIENT))
    first, second = read_batch(bundle)
    assert first == Staged("Patient", name, canonical(ODD_PATIENT))
    assert second.body == canonical({**ODD_PATIENT, "active": True})


@pytest.mark.parametrize("key", ["A,B", "a|b", "a$b", "a\\b", "a\\,b", "ü é", "100%", "\\"])
def test_a_key_with_separators_stays_one_key(key: str) -> None:
    """Unescaped, ``A,B`` would mean: A or B, and the update of the one would overwrite the other."""
    system = "https://x.example/p,q"
    query = unquote(by_name("Patient", (system, key)).removeprefix("identifier="))
    assert re.search(r"(?<!\\)(\\\\)*,", query) is None
    assert parse_conditional(conditional_reference("Patient", system, key)) == ("Patient", system, key)


@pytest.mark.parametrize(
    "damage", [b"", b'{"entry":[{"resource":{}}]}', batch([b'{"resource":{},"request":{"url":"P"}}'])]
)
def test_a_damaged_bundle_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError):
        list(read_batch(damage))


def test_conditional_references_round_trip() -> None:
    text = conditional_reference("Patient", "https://x.example/p", "a|b, c&d=é")
    assert parse_conditional(text) == ("Patient", "https://x.example/p", "a|b, c&d=é")
    assert parse_conditional("Patient/123") is None


def test_references_are_found_everywhere() -> None:
    resource = {"subject": {"reference": "a"}, "participant": [{"actor": {"reference": "b"}}], "reference": 7}
    assert [found["reference"] for found in references(resource)] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"birthDate": "2024-02-30"}, "birthDate"),
        ({"gender": ["female"]}, "gender"),
        ({"deceasedBoolean": True, "deceasedDateTime": "2024-01-01"}, "deceased"),
        ({"nickname": "Ada"}, "nickname"),
        ({"deceasedDateTime": "2024-01-01T10:00:00"}, "deceasedDateTime"),
    ],
)
def test_invalid_resources_are_told_by_path_without_their_values(change: dict[str, object], path: str) -> None:
    [problem, *_] = problems({**PATIENT, **change})
    assert path in problem
    assert "2024" not in problem
    assert "Ada" not in problem


def test_valid_and_unknown_resources() -> None:
    assert problems(PATIENT) == []
    assert problems({"resourceType": "Spaceship"}) == ["resourceType: unknown"]
