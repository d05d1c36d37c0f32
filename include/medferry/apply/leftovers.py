"""Whether a leftover may be dealt with as the plan says: judged here, by nothing but what was read.

A resource must stand as we wrote it, carry our name, and be known by no other; to what is to be removed, nothing that
stays may refer. What cannot be told counts against it.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

from medferry.apply.reason import Reason, listed
from medferry.apply.twins import References
from medferry.fhir.canonical import stored_hash
from medferry.fhir.identifiers import names_of
from medferry.fhir.inactive import NOT_IN_USE
from medferry.manifest.crosswalk import Name
from medferry.manifest.leftovers import Leftover
from medferry.plan.model import LeftoverPolicy

Resource = dict[str, Any]


class Stays(StrEnum):
    """Why a leftover is left as it is, as an operator reads it."""

    SETTLING = "a batch with its record got no answer and may still arrive"
    ROW_CHANGED = "its row, or the migration, has changed since the last run: run first"
    SOURCE_EMPTY = "the legacy database has no row of its entity at all: is it the right one?"
    CHANGED = "somebody has changed it since it was written"
    UNREADABLE = "it cannot be read"
    NOT_OURS = "it does not carry the name that the crosswalk has of it"
    KNOWN_ELSEWHERE = "it is known by another name, too"
    NO_ELEMENT = "FHIR has no element that says so of its type"
    REFERRED_TO = "something that stays refers to it"
    REFERENCES_UNCHECKED = "it could not be checked whether anything refers to it"
    CHANGED_SINCE = "it was changed since it was looked at"
    NO_ANSWER = "Medplum did not answer whether it was done: again"
    REFUSED = "Medplum refused it"


def judge_standing(
    leftover: Leftover,
    policy: LeftoverPolicy,
    standing: tuple[Resource, bytes] | None,
    settling: Collection[Name],
    owners: Collection[tuple[str, Name]],
    migration: str,
) -> Reason | None:
    """By what Medplum has of it (parsed, and as text).

    `settling`: names of which something may still arrive. `owners`: (migration, name) by which the crosswalk has it.
    """
    name = (leftover.system, leftover.key)
    if name in settling:
        return Reason(Stays.SETTLING)
    if set(owners) - {(migration, name)}:
        return Reason(Stays.KNOWN_ELSEWHERE)
    if policy is LeftoverPolicy.INACTIVATE and leftover.resource_type not in NOT_IN_USE:
        return Reason(Stays.NO_ELEMENT)
    if standing is None:
        return Reason(Stays.UNREADABLE)
    resource, text = standing
    if name not in names_of(resource):
        return Reason(Stays.NOT_OURS)
    return None if stored_hash(text) == leftover.content_hash else Reason(Stays.CHANGED)


def judge_references(place: str, references: References, going: Collection[str]) -> Reason | None:
    """Whether it is known that nothing refers to it but what is `going`, too (or itself)."""
    if staying := sorted(set(references.found.get(place, ())) - set(going) - {place}):
        return Reason(Stays.REFERRED_TO, listed(staying))
    return Reason(Stays.REFERENCES_UNCHECKED, listed(references.unchecked)) if references.unchecked else None
