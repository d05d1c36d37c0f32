"""FHIR batch Bundles: made of conditional updates, bounded in entries and bytes, ready to be POSTed by hand.

Resources stand in them in canonical form, so that the load can take each as it is, unparsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import orjson

from medferry.fhir.canonical import canonical
from medferry.fhir.identifiers import names_of, parameter_of
from medferry.fhir.references import escaped, parse_conditional

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that one Bundle may hold. Medplum's default limit for a synchronous body is 1 MB, inflated."""

    entries: int = 100
    bytes: int = 900_000


class Staged(NamedTuple):
    """An entry of a staged Bundle: the resource's type, name and canonical JSON."""

    type: str
    name: tuple[str, str]
    body: bytes


class _Request(msgspec.Struct):
    url: str


class _Entry(msgspec.Struct):
    resource: msgspec.Raw
    request: _Request


class _Bundle(msgspec.Struct):
    entry: list[_Entry]


_bundle = msgspec.json.Decoder(_Bundle)


def identity(resource: Resource) -> tuple[str, str]:
    """The (system, value) of a resource's first identifier, or tag: its name in the crosswalk."""
    return names_of(resource)[0]


def conditional_update(resource: Resource) -> bytes:
    """A batch entry that creates or updates `resource` under its name."""
    kind = resource["resourceType"]
    url = f"{kind}?{by_name(kind, identity(resource))}"
    return orjson.dumps({"resource": orjson.Fragment(canonical(resource)), "request": {"method": "PUT", "url": url}})


def by_name(resource_type: str, name: tuple[str, str]) -> str:
    """The search query for a name (system, value): what conditional operations go by."""
    system, value = name
    return f"{parameter_of(resource_type)}={_quoted(system, ':/')}|{_quoted(value, '')}"


@lru_cache(maxsize=65_536)  # systems are few, and a patient's key is referred to by many
def _quoted(text: str, safe: str) -> str:
    return quote(escaped(text), safe=safe)


def batch(entries: Sequence[bytes]) -> bytes:
    return b'{"resourceType":"Bundle","type":"batch","entry":[%b]}' % b",".join(entries)


def read_batch(bundle: bytes) -> Iterator[Staged]:
    """The conditional updates of a Bundle. Raises ValueError when it is damaged."""
    for entry in _bundle.decode(bundle).entry:
        parsed = parse_conditional(entry.request.url)
        if parsed is None:
            raise ValueError("an entry of the Bundle is no conditional update")
        resource_type, system, value = parsed
        yield Staged(resource_type, (system, value), bytes(entry.resource))
