"""Targets of a load: staged entries as source records, their references made literal from the crosswalk.

A resource is kept as its canonical JSON. References are found and replaced in that text: inside a string every quote is
escaped, so a bare `"reference":"` can only be the member of that name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from medferry.fhir.bundle import Staged
from medferry.fhir.references import parse_conditional
from medferry.manifest.crosswalk import CrosswalkEntry, Name

_REFERENCE = re.compile(rb'"reference":"([A-Za-z]+\?(?:identifier|_tag)=[^"\\]*\|[^"\\]*)"')


@dataclass(frozen=True, slots=True)
class StagedResource:
    """A staged resource: its canonical JSON with conditional references, and the names that these point at."""

    name: Name
    type: str
    body: bytes
    wanted: frozenset[Name]


@dataclass(frozen=True, slots=True)
class ResolvedResource:
    """A resource ready to be written: its references are literal. `hash` is over what its writer owns.

    `wanted_hash` is of what the mapping made, where it was merged into what others have changed.
    """

    name: Name
    type: str
    body: bytes
    hash: str
    wanted_hash: str | None = None

    @property
    def wanted(self) -> str:
        """The hash of what the mapping made."""
        return self.wanted_hash or self.hash


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One source record with the resources it became, as staged."""

    key: str
    resources: tuple[StagedResource, ...]


def staged_resource(staged: Staged) -> StagedResource:
    wanted = frozenset(_name(found) for found in _REFERENCE.findall(staged.body))
    return StagedResource(staged.name, staged.type, staged.body, wanted)


def resolved(ready: StagedResource, known: Mapping[Name, CrosswalkEntry]) -> ResolvedResource:
    """The resource with literal references. Raises KeyError when one is not in `known`."""

    def literal(match: re.Match[bytes]) -> bytes:
        found = known[_name(match[1])]
        return f'"reference":"{found.resource_type}/{found.medplum_id}"'.encode()

    body = _REFERENCE.sub(literal, ready.body) if ready.wanted else ready.body
    return ResolvedResource(ready.name, ready.type, body, hashlib.sha256(body).hexdigest())


@lru_cache(maxsize=65_536)
def _name(conditional: bytes) -> Name:
    """The name that a conditional reference points at."""
    parsed = parse_conditional(conditional.decode())
    assert parsed is not None
    return parsed[1:]
