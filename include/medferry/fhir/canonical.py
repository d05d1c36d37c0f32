"""One form for content that means the same, so that contents can be compared by hash."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
import orjson

from medferry.fhir import additions

Resource = dict[str, Any]


def owned(resource: Resource) -> Resource:
    """The part of a resource that its writer owns: without ``id`` and the server's members of ``meta``."""
    kept = resource.copy()
    kept.pop("id", None)
    meta = {name: value for name, value in kept.pop("meta", {}).items() if name not in additions.META}
    return {**kept, "meta": meta} if meta else kept


def canonical(resource: Resource) -> bytes:
    """The owned part as JSON, the same for every order of keys and for 72 and 72.0.

    Medplum keeps numbers as JavaScript numbers, so equal doubles are equal contents.
    """
    body = orjson.dumps(owned(resource), option=orjson.OPT_SORT_KEYS)
    if _OTHERWISE_PRINTED.search(body):
        body = orjson.dumps(_plain(owned(resource)), option=orjson.OPT_SORT_KEYS)
    return body


def hash_of_read(resource: Resource) -> str:
    """The hash of what was read from Medplum; "" for what was not sent from here: a lone surrogate, which it takes."""
    try:
        return content_hash(resource)
    except (TypeError, ValueError):
        return ""


def is_text(resource: Resource) -> bool:
    """Whether all of what was read from Medplum is text: it takes half surrogate pairs, which nobody else does."""
    return bool(hash_of_read(resource))


def has_content(text: bytes, body: bytes) -> bool:
    """Whether the resource of the JSON `text`, as Medplum has it, has the content of the canonical form `body`.

    Where the server has kept what was sent to the letter, its members need no parsing. What cannot be parsed (a lone
    surrogate) was not sent from here.
    """
    try:
        if _owned_text(text) == body:
            return True
        stored = orjson.loads(text)
        return canonical(stored) == body or (b'"Binary/' in body and canonical(additions.unsigned(stored)) == body)
    except ValueError:
        return False


def holds_content(text: bytes, body: bytes) -> bool:
    """Whether all of the canonical form `body` stands in the resource of the JSON `text`, beside whatever was added."""
    try:
        return additions.holds(additions.split(orjson.loads(text))[0], orjson.loads(body))
    except ValueError:
        return False


def _owned_text(text: bytes) -> bytes:
    """The owned part with its members in order, each as it stands: canonical if they are."""
    members: dict[str, bytes | msgspec.Raw] = dict(_members.decode(text))
    members.pop("id", None)
    if meta := owned({"meta": msgspec.json.decode(members.pop("meta", b"{}"))}):
        members["meta"] = orjson.dumps(meta["meta"], option=orjson.OPT_SORT_KEYS)
    return b"{%b}" % b",".join([b'"%b":%b' % (name.encode(), members[name]) for name in sorted(members)])


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def content_hash(resource: Resource) -> str:
    """SHA-256 (hex) of the canonical form."""
    return hashlib.sha256(canonical(resource)).hexdigest()


def stored_hash(text: bytes) -> str:
    """The hash of a resource as Medplum has it, as it is of what was sent; "" for what was not sent from here."""
    try:
        return content_hash(additions.unsigned(orjson.loads(text)))
    except ValueError:
        return ""


_OTHERWISE_PRINTED = re.compile(rb"\.0[,}\]]|e\+?\d+[,}\]]|\d{19}[,}\]]")
"""How a double without a fraction may be printed, here (1.8e+19) or by JavaScript (18000000000000000000).

Text may look so, too, which costs a little time and nothing else.
"""

_LARGEST_INTEGER = 2**63
"""From here on JSON libraries print doubles only, and read an integer up to 2⁶⁴ all the same."""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _LARGEST_INTEGER else value
    return float(value) if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER else value
