"""Bytes are taken out of attachments, and nothing else is."""

from __future__ import annotations

import base64
import copy
import hashlib
from typing import Any

import orjson
import pytest

from medferry.fhir.canonical import canonical
from medferry.fhir.documents import media_types, taken_out, with_binaries

SCAN = bytes(range(256)) * 100


def attachment(content: bytes = SCAN, **changes: Any) -> dict[str, Any]:
    return {"contentType": "application/pdf", "data": base64.b64encode(content).decode(), **changes}


def document(*attachments: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "DocumentReference", "content": [{"attachment": each} for each in attachments]}


def test_bytes_are_named_by_their_hash_and_become_an_address() -> None:
    given = document(attachment(title="scan"), attachment(), attachment(b"small"))
    before = copy.deepcopy(given)
    [made], [found] = taken_out([given])
    assert given == before
    assert (found.digest, found.content) == (hashlib.sha256(SCAN).hexdigest(), SCAN)
    body = canonical(made)
    assert media_types(body) == {found.digest: "application/pdf"}
    placed = orjson.loads(with_binaries(body, {found.digest: "b1"}))
    assert [each["attachment"] for each in placed["content"]] == [
        {"contentType": "application/pdf", "title": "scan", "url": "Binary/b1"},
        {"contentType": "application/pdf", "url": "Binary/b1"},
        attachment(b"small"),
    ]
    assert media_types(canonical(placed)) == {}


@pytest.mark.parametrize(
    "odd",
    [
        {"contentType": None},
        {"contentType": "text/plain\r\nX-Evil: 1"},
        {"contentType": "Ärztebrief/pdf"},
        {"url": "https://x.example"},
        {"data": "*" * 20_000},
    ],
)
def test_what_no_upload_could_carry_stays_where_it_is(odd: dict[str, Any]) -> None:
    given = document(attachment(**odd))
    assert taken_out([given]) == ([given], [])


def test_what_is_no_attachment_stays_where_it_is() -> None:
    given = {
        "resourceType": "Observation",
        "valueSampledData": {"data": "1 2 " * 9_000},
        "note": [{"text": "n" * 20_000}],
    }
    assert taken_out([given]) == ([given], [])
