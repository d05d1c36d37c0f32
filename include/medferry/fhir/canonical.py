"""One form for content that means the same, so that contents can be compared by hash."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

Resource = dict[str, Any]

SERVER_META = frozenset({"versionId", "lastUpdated", "author", "project", "compartment"})
"""Members of ``meta`` that Medplum sets itself."""


def owned(resource: Resource) -> Resource:
    """The part of a resource that its writer owns: without ``id`` and the server's members of ``meta``."""
    kept = {name: value for name, value in resource.items() if name != "id"}
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in SERVER_META}
    kept.pop("meta", None)
    return {**kept, "meta": meta} if meta else kept


def content_hash(resource: Resource) -> str:
    """SHA-256 (hex) of the owned part, independent of key order and of 72 versus 72.0.

    Medplum keeps numbers as JavaScript numbers, so equal doubles are equal contents.
    """
    return hashlib.sha256(orjson.dumps(_plain(owned(resource)), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
