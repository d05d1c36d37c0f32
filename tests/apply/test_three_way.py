"""What the mapping made before is found in a history by a hash, or not at all; a conflict is told without values."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from medferry.apply.targets import ResolvedResource
from medferry.apply.three_way import Conflicting, made_before, merged_target
from medferry.fhir.canonical import canonical, content_hash

Resource = dict[str, Any]
OURS = "ClientApplication/1"


def patient(**members: Any) -> Resource:
    return {"resourceType": "Patient", **members}


A, B, C = (patient(gender=gender, active=True) for gender in ("a", "b", "c"))
MORE = {"language": "de"}


def history(*versions: tuple[str, Resource]) -> list[Resource]:
    """As Medplum gives it, of (author, content), the oldest first here."""
    entries = [
        {"resource": {**content, "id": "x", "meta": {"versionId": str(number), "author": {"reference": author}}}}
        for number, (author, content) in enumerate(versions)
    ]
    return [{"request": {"method": "DELETE"}}, *entries[::-1]]


USER = "Practitioner/2"
HISTORIES = {
    "as it was made": ([(OURS, A)], A),
    "made again": ([(OURS, A), (OURS, B)], B),
    "merged": ([(OURS, A), (USER, A | MORE), (OURS, B | MORE)], B),
    "merged twice": ([(OURS, A), (USER, A | MORE), (OURS, B | MORE), (OURS, C | MORE)], C),
    "merged with a field of the user": ([(OURS, A), (USER, A | {"active": False}), (OURS, B | {"active": False})], B),
    "altered since": ([(OURS, A), (USER, A | MORE), (OURS, B | MORE), (USER, C | MORE)], B),
    "adopted": ([(OURS, A), (USER, B | MORE)], B),
    "adopted, then merged": ([(OURS, A), (USER, B | MORE), (OURS, B | MORE | {"active": None})], patient(gender="b")),
    "written over": ([(OURS, A), (USER, C | MORE), (OURS, B)], B),
    "written back, a new place too": ([(OURS, A), (USER, B | MORE)], B | MORE),
    "written back in part": ([(OURS, A), (USER, B | MORE | {"active": False})], A | MORE),
    "written back in part, then merged": (
        [(OURS, A), (USER, C | MORE | {"active": False}), (OURS, B | MORE | {"active": False})],
        B | MORE,
    ),
    "not to be written": ([(OURS, A), (USER, A | {"gender": "\ud800"})], A),
    "a field went": ([(OURS, A), (USER, A | MORE), (OURS, patient(gender="a") | MORE)], patient(gender="a")),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_what_was_made_is_found_by_its_hash(name: str) -> None:
    versions, made = HISTORIES[name]
    versions = [
        (author, {n: value for n, value in content.items() if value is not None}) for author, content in versions
    ]
    assert made_before(history(*versions), OURS, {content_hash(made)}) == made


def test_what_is_not_certain_is_not_found() -> None:
    versions = [(OURS, A), (USER, A | MORE), (OURS, B | MORE)]
    wanted = {content_hash(B)}
    assert made_before(history(*versions), "", wanted) is None
    assert made_before(history(*versions), USER, wanted) is None
    assert made_before(history(*versions), OURS, {content_hash(C)}) is None
    assert made_before([], OURS, wanted) is None


@pytest.mark.parametrize("base", ["https://storage.example/", "https://old.example/"])
def test_a_document_in_another_storage_was_never_made(base: str) -> None:
    first, second = ("18aa9dfc-35fd-4902-bf1c-b33e3122b8f5", "28aa9dfc-35fd-4902-bf1c-b33e3122b8f5")

    def photo(host: str, id_: str) -> Resource:
        return {"photo": [{"url": f"{host}{id_}?Expires=1&Signature=abc"}]}

    versions = [(OURS, A | photo("https://storage.example/", first)), (USER, C | photo(base, second))]
    made = A | {"photo": [{"url": f"Binary/{second}"}]}
    found = made_before(history(*versions), OURS, {content_hash(made)})
    assert found == (made if base == "https://storage.example/" else None)


def test_of_several_that_may_have_been_stored_the_newest_counts() -> None:
    versions = [(OURS, A), (USER, A | MORE), (OURS, B | MORE)]
    assert made_before(history(*versions), OURS, {content_hash(A), content_hash(B)}) == B
    assert made_before(history(*versions[:2]), OURS, {content_hash(A), content_hash(B)}) == A


def test_a_conflict_names_elements_and_no_value() -> None:
    coding = {"system": "s", "code": "secret", "display": "base"}
    base, ours, theirs = (
        patient(gender=word, maritalStatus={"coding": [coding | {"display": word}]}) for word in ("a", "b", "c")
    )
    target = ResolvedResource(("s", "1"), "Patient", canonical(ours), content_hash(ours))
    with pytest.raises(Conflicting, match=r"^gender, maritalStatus$"):
        merged_target(base, target, orjson.dumps(theirs))
    with pytest.raises(ValueError):
        merged_target(base, target, b"no JSON")
    assert merged_target(base, target, orjson.dumps(base)).target == target
