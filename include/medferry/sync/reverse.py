"""What a change that was found in Medplum is: our own write, an edit of what we made, a birth, a deletion.

An echo is told by its version or its content, never by tags or clocks: it is what the crosswalk has, or what was sent
and is not recorded yet. Notes of what was sent are read before the crosswalk, so that a write that is recorded in
between is known by one of the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import sqlalchemy as sa

from medferry.apply.foreign_documents import leads_elsewhere
from medferry.fhir.additions import storages, unsigned
from medferry.fhir.canonical import hash_of_read
from medferry.fhir.identifiers import names_of
from medferry.manifest.crosswalk import Name
from medferry.manifest.known_lines import KnownLine, hashes_on_their_way, lines_of_ids, lines_of_names
from medferry.medplum.changes import Change, Resource
from medferry.medplum.client import MedplumClient
from medferry.medplum.presence import Absence


class FoundKind(StrEnum):
    """What was found."""

    ECHO = "echo"
    """Our own write, or content that equals it."""
    EDIT = "edit"
    """Somebody changed what the crosswalk has."""
    BIRTH = "birth"
    """A resource of ours to take that no line of the crosswalk has and that carries no name of ours."""
    ELSEWHERE = "elsewhere"
    """Such a one that belongs to none of our units."""
    TWIN = "twin"
    """It carries a name of ours, and is not the resource that the crosswalk has under it, or that we are sending."""
    DELETE = "delete"
    """Medplum has not what the crosswalk has."""
    SUPERSEDED = "superseded"
    """We have written a later version since it was read; that one is told by itself."""


@dataclass(frozen=True, slots=True)
class Ours:
    """What is known of ourselves: the migration, the base of its identifier systems, and what lies in our units."""

    migration: str
    base: str
    belongs: Callable[[Resource], bool]

    def names(self, resource: Resource) -> list[Name]:
        """The names of a resource that are ours to give."""
        return [(system, value) for system, value in names_of(resource) if system.startswith(f"{self.base}/")]


@dataclass(frozen=True, slots=True)
class Found:
    """A change, and what it is. `lines`: those of the crosswalk that it is about, whose values are the source keys.

    `base` is the version that the crosswalk has, for an edit; None where Medplum has not kept it.
    """

    kind: FoundKind
    resource_type: str
    id: str
    version_id: str = ""
    lines: tuple[KnownLine, ...] = ()
    absence: Absence | None = None
    change: Change | None = field(default=None, repr=False)
    base: Resource | None = field(default=None, repr=False)
    seems_ours: bool = False
    """It has the content of a write of ours, as far as it can be told without the storage of its documents."""


def classify(
    manifest: sa.Engine, client: MedplumClient, ours: Ours, resource_type: str, changes: Sequence[Change]
) -> list[Found]:
    """What each of some changes of a type is, in their order; a point for each edit. At most 1,000 at once."""
    if not changes:
        return []
    names = {one.id: ours.names(one.resource) for one in changes}
    with manifest.begin() as connection:
        sent = hashes_on_their_way(connection, ours.migration)
        named = lines_of_names(connection, ours.migration, {name for each in names.values() for name in each})
        lines = _by_id(line for line in named if line.resource_type == resource_type)
        rest = [one.id for one in changes if one.id not in lines]
        lines |= _by_id(lines_of_ids(connection, ours.migration, resource_type, rest))
    found = [_what(ours, resource_type, one, names[one.id], lines.get(one.id, ()), sent) for one in changes]
    return _with_bases(client, resource_type, found)


def classify_absent(
    manifest: sa.Engine, ours: Ours, resource_type: str, absent: Mapping[KnownLine, Absence]
) -> list[Found]:
    """The deletions among lines whose resources Medplum has not: those that the crosswalk still has.

    Our own removals are taken out of it, and a record that was made anew has another resource.
    """
    with manifest.begin() as connection:
        present = lines_of_names(connection, ours.migration, [line.name for line in absent])
    still = {(line.name, line.medplum_id) for line in present}
    by_id = _by_id(line for line in absent if (line.name, line.medplum_id) in still)
    told = {line.medplum_id: absence for line, absence in absent.items()}
    return [Found(FoundKind.DELETE, resource_type, one, lines=lines, absence=told[one]) for one, lines in by_id.items()]


def _what(
    ours: Ours,
    resource_type: str,
    change: Change,
    names: Collection[Name],
    lines: tuple[KnownLine, ...],
    sent: Mapping[Name, set[str]],
) -> Found:
    found = Found(FoundKind.EDIT, resource_type, change.id, change.version_id, lines, change=change)
    if any(line.version_id == change.version_id for line in lines):
        return replace(found, kind=FoundKind.ECHO)
    hashes = {line.content_hash for line in lines if line.content_hash}.union(*(sent.get(name, ()) for name in names))
    if hashes and hash_of_read(unsigned(change.resource)) in hashes:
        # Under signed URLs only the version that we wrote tells whose documents these are.
        by_storage = lines and storages(change.resource)
        return replace(found, seems_ours=True) if by_storage else replace(found, kind=FoundKind.ECHO)
    if lines:
        return found
    if names:
        return replace(found, kind=FoundKind.TWIN)
    return replace(found, kind=FoundKind.BIRTH if ours.belongs(change.resource) else FoundKind.ELSEWHERE)


def _by_id(lines: Iterable[KnownLine]) -> dict[str, tuple[KnownLine, ...]]:
    found: dict[str, tuple[KnownLine, ...]] = {}
    for line in lines:
        found[line.medplum_id] = (*found.get(line.medplum_id, ()), line)
    return found


def _with_bases(client: MedplumClient, resource_type: str, found: Sequence[Found]) -> list[Found]:
    """The edits with their bases; a change that is older than its base is none: we wrote after it was read."""
    edits = [one for one in found if one.kind is FoundKind.EDIT]
    places = {_place(line): line for one in edits for line in one.lines}
    read = client.read_each([(resource_type, place) for place in places]) if places else {}
    bases = {place: Change.of(json.loads(text)) for place, (_, text) in read.items()}
    return [_with_base(client, one, bases) if one.kind is FoundKind.EDIT else one for one in found]


def _with_base(client: MedplumClient, found: Found, bases: Mapping[str, Change]) -> Found:
    change = found.change
    assert change is not None
    known = [bases[_place(line)] for line in found.lines if _place(line) in bases]
    if not known:  # a replica that does not show it yet is behind it, and so is what it showed
        kept = any(client.is_there(found.resource_type, _place(line)) for line in found.lines)
        return replace(found, kind=FoundKind.SUPERSEDED) if kept else found
    base = max(known, key=lambda one: one.at)
    if base.at > change.at or (base.at == change.at and _is_present(client, found, base)):
        return replace(found, kind=FoundKind.SUPERSEDED)
    if found.seems_ours and not leads_elsewhere(storages(change.resource), storages(base.resource)):
        return replace(found, kind=FoundKind.ECHO)
    return replace(found, base=base.resource)


def _is_present(client: MedplumClient, found: Found, base: Change) -> bool:
    """Whether a version is the present one: of two in one millisecond, the times do not tell."""
    return client.versions(found.resource_type, [found.id]).get(found.id) == base.version_id


def _place(line: KnownLine) -> str:
    return f"{line.medplum_id}/_history/{line.version_id}"


def named_by(found: Iterable[Found], entities: Collection[str]) -> dict[str, set[str]]:
    """Entity → keys of the records that have to be looked at: edits, deletions, and what was merged by the way forth.

    A write of ours that brought a row's change into what users had changed says all of it, and the row may not.
    """
    keys: dict[str, set[str]] = {}
    for one in found:
        for line in one.lines:
            if line.entity in entities and (
                one.kind in (FoundKind.EDIT, FoundKind.DELETE)
                or (one.kind is FoundKind.ECHO and line.wanted_hash is not None)
            ):
                keys.setdefault(line.entity, set()).add(line.value)
    return keys
