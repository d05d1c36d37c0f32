"""Whether resources that are known by id are in Medplum still, and in which version: 20 points for 1,000 of them.

What a search does not show is no evidence (a replica that lags, an access policy): what is unseen is read, a point
each, and what cannot be read is asked for once more by a request of its own, which no replica answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from medferry.medplum.client import MedplumClient


class Absence(StrEnum):
    """How Medplum says that it has not a resource."""

    DELETED = "deleted"
    """410: somebody deleted it."""
    NOT_FOUND = "not-found"
    """404: it was expunged, or the client's access policy hides it."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What Medplum has of some ids: each is in one of the two, or in neither where a last read found it after all.

    `unseen` are those with a version that no search showed.
    """

    versions: Mapping[str, str]
    absent: Mapping[str, Absence]
    unseen: frozenset[str]


def look_for(client: MedplumClient, resource_type: str, ids: Sequence[str]) -> Presence:
    """The presence of at most 1,000 ids of a type. Raises Unauthorised where a read is forbidden (403)."""
    versions = client.versions(resource_type, ids)
    gone: set[str] = set()
    asked = [(resource_type, one) for one in ids if one not in versions]
    read = {one: version for one, (version, _) in client.read_each(asked, gone).items()} if asked else {}
    absent = dict.fromkeys(gone, Absence.DELETED)
    for _, one in asked:
        if one not in read and one not in gone and not client.is_there(resource_type, one):
            absent[one] = Absence.NOT_FOUND
    return Presence({**versions, **read}, absent, frozenset(read))
