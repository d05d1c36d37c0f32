"""Twins: a second resource in Medplum under an identifier of which the crosswalk knows another one.

Whether one may be removed is judged here, by nothing but what was read: it must be provably ours. What cannot be told
counts against it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from medferry.apply.reason import Reason, listed
from medferry.fhir.additions import storages, unsigned
from medferry.fhir.canonical import content_hash
from medferry.fhir.identifiers import names_of
from medferry.manifest.crosswalk import CrosswalkEntry, Name

Resource = dict[str, Any]


class Kept(StrEnum):
    """Why a twin is not removed, as an operator reads it."""

    SETTLING = "a batch with its record got no answer and may still arrive"
    KNOWN_ELSEWHERE = "the crosswalk knows it by another name"
    ORIGINAL_MISSING = "the resource that the crosswalk knows is not there"
    ORIGINAL_CHANGED = "the resource that the crosswalk knows is of another version than was written"
    UNREADABLE = "it cannot be read"
    OTHER_CONTENT = "it has other content than the resource that the crosswalk knows"
    AUTHOR_UNKNOWN = "it cannot be told who wrote each version of both"
    OTHER_AUTHOR = "another client wrote a version of one of them"
    REFERRED_TO = "something refers to it"
    REFERENCES_UNCHECKED = "it could not be checked whether anything refers to it"
    CHANGED_SINCE = "one of both was changed since it was looked at"
    NO_ANSWER = "Medplum did not answer whether it was removed: look again"
    REFUSED = "Medplum refused to remove it"


@dataclass(frozen=True, slots=True)
class Twin:
    """A resource, by its id, that carries a name (identifier system, source key) of the crosswalk's `known` one."""

    entity: str
    name: Name
    medplum_id: str
    known: CrosswalkEntry

    @property
    def place(self) -> str:
        return f"{self.known.resource_type}/{self.medplum_id}"


@dataclass(frozen=True, slots=True)
class References:
    """What a search for references to some resources showed: "Type/id" → the places of what refers to it.

    `unchecked` are "Type?parameter" that could not be searched, or not to the end.
    """

    found: dict[str, list[str]] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """A twin and the resource that the crosswalk knows, as both stand in Medplum; None: it could not be read.

    A history is as Medplum gives it, with authors. `ours` is who we are there; empty: it does not say.
    """

    twin: Resource | None
    known: Resource | None
    histories: tuple[Sequence[Resource], Sequence[Resource]]
    ours: str


def judge_names(
    twin: Twin, resource: Resource | None, settling: Collection[Name], known_ids: Collection[str]
) -> Reason | None:
    """By the manifest: what open notes are about (none of its names, if it can be read), which ids are known."""
    names = set(names_of(resource or {}))
    if not ({twin.name} | names).isdisjoint(settling):
        return Reason(Kept.SETTLING)
    return Reason(Kept.KNOWN_ELSEWHERE) if twin.medplum_id in known_ids else None


def judge_contents(twin: Twin, seen: Seen) -> Reason | None:
    """Whether both stand there as we wrote them, with one content."""
    if seen.known is None:
        return Reason(Kept.ORIGINAL_MISSING)
    if seen.twin is None:
        return Reason(Kept.UNREADABLE)
    if version_of(seen.known) != twin.known.version_id:
        return Reason(Kept.ORIGINAL_CHANGED)
    # Of the known one our own version stands there: under another storage than its, the twin has other documents.
    same = _content(seen.twin) == _content(seen.known) and storages(seen.twin) <= storages(seen.known)
    return None if same else Reason(Kept.OTHER_CONTENT)


def judge_authors(seen: Seen) -> Reason | None:
    """Whether our client wrote every version of both."""
    for resource, history in zip((seen.twin, seen.known), seen.histories, strict=True):
        if resource is None:
            return Reason(Kept.UNREADABLE)
        if reason := _judge_history(version_of(resource), history, seen.ours):
            return reason
    return None


def judge_references(twin: Twin, references: References) -> Reason | None:
    """Whether it is known that nothing refers to the twin."""
    if found := references.found.get(twin.place):
        return Reason(Kept.REFERRED_TO, listed(found))
    return Reason(Kept.REFERENCES_UNCHECKED, listed(references.unchecked)) if references.unchecked else None


def version_of(resource: Resource) -> str:
    return str(resource.get("meta", {}).get("versionId", ""))


def _judge_history(version: str, history: Sequence[Resource], ours: str) -> Reason | None:
    versions = [entry.get("resource") or {} for entry in history]
    ids = [version_of(each) for each in versions]
    if not ours or not version or ids[:1] != [version] or not all(ids) or len(set(ids)) != len(ids):
        return Reason(Kept.AUTHOR_UNKNOWN)
    authors = [each["meta"].get("author", {}).get("reference") for each in versions]
    if not all(authors):
        return Reason(Kept.AUTHOR_UNKNOWN)
    other = any(author != ours for author in authors) or any("onBehalfOf" in each["meta"] for each in versions)
    return Reason(Kept.OTHER_AUTHOR) if other else None


def _content(resource: Resource) -> str:
    return content_hash(unsigned(resource))
