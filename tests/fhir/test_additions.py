"""What Medplum adds is told from what was written; a change of what was written is neither."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from medferry.fhir.additions import holds, split, storages, unsigned, without_meta
from medferry.fhir.canonical import canonical, has_content, holds_content
from medferry.verification.content import digest

ID = "18aa9dfc-35fd-4902-bf1c-b33e3122b8f5"
OTHER = "28bb9dfc-35fd-4902-bf1c-b33e3122b8f6"
"""The id of the Binary's version, which Medplum appends."""
SIGNED = [
    f"https://storage.example/storage/{ID}?Expires=1&Signature=abc",
    f"https://storage.example/binary/{ID}/{OTHER}?Expires=1&Key-Pair-Id=k&Signature=abc",
    f"https://bucket.example/{OTHER}/binary/{ID}/{OTHER}?X-Amz-Date=1&X-Amz-Signature=abc",
    f"https://blob.example/binary/{ID}/{ID}?sv=1&sig=abc",
]


def document(url: str) -> dict[str, Any]:
    return {"resourceType": "DocumentReference", "content": [{"attachment": {"contentType": "text/plain", "url": url}}]}


def test_meta_that_medplum_sets_is_split_off() -> None:
    meta = {"source": "s", "tag": [{"code": "m"}]}
    added = {
        "versionId": "2",
        "lastUpdated": "t",
        "author": {},
        "project": "p",
        "compartment": [],
        "account": {"reference": "Organization/1"},
        "accounts": [{"reference": "Organization/1"}],
    }
    stored = {"resourceType": "Patient", "id": "1", "meta": {**meta, **added}, "active": True}
    ours = {"resourceType": "Patient", "meta": meta, "active": True}
    assert split(stored) == (ours, {"meta": added})
    assert has_content(orjson.dumps(stored), canonical(ours))
    assert digest(stored) == digest(ours)
    fhirs = {"versionId": "2", "lastUpdated": "t"}
    assert without_meta(stored) == {**stored, "meta": {**meta, **fhirs}}
    assert without_meta({"id": "1", "meta": fhirs}) == {"id": "1", "meta": fhirs}


@pytest.mark.parametrize("url", SIGNED)
def test_a_signed_url_is_what_was_sent(url: str) -> None:
    sent = document(f"Binary/{ID}")
    assert unsigned(document(url)) == sent
    assert has_content(orjson.dumps({**document(url), "id": "1"}), canonical(sent))
    assert digest(document(url)) == digest(sent)


def test_only_the_url_of_the_own_storage_is_what_was_sent() -> None:
    base = "https://storage.example/storage/"
    for own, made in (
        (None, f"Binary/{ID}"),
        ({base}, f"Binary/{ID}"),
        ({"https://x/"}, SIGNED[0]),
        (set(), SIGNED[0]),
    ):
        bases = None if own is None else frozenset(own)
        assert unsigned(document(SIGNED[0]), own=bases) == split(document(SIGNED[0]), bases)[0] == document(made)


@pytest.mark.parametrize(
    "url",
    [
        f"https://evil.example/Binary/{ID}",
        f"https://storage.example/storage/{ID}?x",
        "https://else.example/a.pdf?Signature=abc",
        f"Binary/{ID[:-1]}0",
    ],
)
def test_another_url_is_a_change(url: str) -> None:
    sent = document(f"Binary/{ID}")
    assert not has_content(orjson.dumps(document(url)), canonical(sent))
    assert digest(document(url)) != digest(sent)


@pytest.mark.parametrize("url", SIGNED)
def test_a_url_that_was_sent_as_a_signed_one_is_kept_and_the_name_of_an_extension_is_no_attachment(url: str) -> None:
    assert has_content(orjson.dumps(document(url)), canonical(document(url)))
    named = {"resourceType": "Patient", "extension": [{"url": url, "valueBoolean": True}]}
    assert unsigned(named) == named
    assert digest(named) != digest({**named, "extension": [{"url": f"Binary/{ID}", "valueBoolean": True}]})


def test_the_storage_of_a_signed_url_is_all_before_the_id() -> None:
    bases = {"https://storage.example/storage/", "https://storage.example/binary/"}
    assert storages([document(url) for url in SIGNED[:2]]) == bases
    assert storages(document(SIGNED[2])) == {f"https://bucket.example/{OTHER}/binary/"}
    assert storages({"extension": [{"url": SIGNED[0]}], "content": document(f"Binary/{ID}")}) == frozenset()


STORED = {"name": [{"family": "A", "given": ["x", "y"]}], "identifier": [{"value": "1"}], "n": 1, "active": True}


@pytest.mark.parametrize(
    ("added", "intact"),
    [
        ({"photo": [{"title": "t"}]}, True),
        ({"identifier": [{"value": "MRN"}, {"value": "1"}]}, True),
        ({"name": [{"family": "A", "given": ["x", "y"], "text": "t"}]}, True),
        ({"n": 1.0}, True),
        ({"name": [{"family": "B", "given": ["x", "y"]}]}, False),
        ({"name": [{"family": "A", "given": ["y", "x"]}]}, False),
        ({"name": [{"family": "A", "given": ["x"]}]}, False),
        ({"name": []}, False),
        ({"name": {"family": "A"}}, False),
        ({"active": 1}, False),
        ({"n": True}, False),
        ({"n": None}, False),
    ],
)
def test_an_addition_beside_what_was_written_leaves_it_intact(added: dict[str, Any], intact: bool) -> None:
    assert holds({**STORED, **added}, STORED) is intact
    assert holds_content(orjson.dumps({**STORED, **added, "id": "1"}), canonical(STORED)) is intact


def test_what_cannot_be_parsed_holds_nothing() -> None:
    assert not holds_content(b"<html>", canonical(STORED))
