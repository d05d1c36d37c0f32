"""Documents: the bytes of attachments that are too large for a resource's body, and what stands in their place.

Such bytes are staged as files beside the Bundle, uploaded as a Binary, and referred to by its address. Until the upload
the attachment's `url` is a name made of the bytes' SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Resource = dict[str, Any]

_NAME = "urn:medferry:document:"
_PLACE = re.compile(rb'"url":"urn:medferry:document:([0-9a-f]{64})"')
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(; ?[A-Za-z0-9-]+=[A-Za-z0-9._-]+)*")
_FROM_CHARACTERS = 10_000
"""Of base64; what is smaller stays where it is."""


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes that were taken out of a resource. `digest` is their SHA-256, in hexadecimal."""

    digest: str
    content: bytes


def taken_out(resources: Sequence[Resource]) -> tuple[list[Resource], list[Document]]:
    """The resources with names in the place of their attachments' bytes, and these, each once.

    What is small stays, and so does what has no media type that a request could carry, a `url` already, or no base64.
    """
    found: dict[str, Document] = {}
    return [_without(resource, found) for resource in resources], list(found.values())


def _without(value: Any, found: dict[str, Document]) -> Any:
    if isinstance(value, list):
        return [_without(item, found) for item in value]
    if not isinstance(value, dict):
        return value
    document = _document_of(value)
    if document is None:
        return {name: _without(item, found) for name, item in value.items()}
    found[document.digest] = document
    rest = {name: item for name, item in value.items() if name != "data"}
    return {**rest, "url": f"{_NAME}{document.digest}"}


def _document_of(value: Mapping[str, Any]) -> Document | None:
    data, media_type = value.get("data"), value.get("contentType")
    if not isinstance(data, str) or len(data) < _FROM_CHARACTERS or "url" in value:
        return None
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        return None
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error:
        return None
    return Document(hashlib.sha256(content).hexdigest(), content)


def media_types(body: bytes) -> dict[str, str]:
    """SHA-256 → media type of each document that a resource's JSON names."""
    return dict(_named(orjson.loads(body))) if _PLACE.search(body) else {}


def _named(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        url = value.get("url")
        if isinstance(url, str) and url.startswith(_NAME):
            yield url.removeprefix(_NAME), str(value.get("contentType"))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _named(item)


def with_binaries(body: bytes, binaries: Mapping[str, str]) -> bytes:
    """A resource's JSON with the addresses of uploaded documents (SHA-256 → Binary id) in the place of their names."""
    return _PLACE.sub(lambda match: f'"url":"Binary/{binaries[match[1].decode()]}"'.encode(), body)
