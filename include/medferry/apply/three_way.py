"""A row and its resource have both changed: what the mapping made before tells which side changed what.

Of a resource that is as it was made, the version that the crosswalk knows is that. Once something was merged into it,
no single version is, and the manifest holds no content: its history is gone through, and what each of our own writes
changed is done to what was made until then. A hash says whether it was found; a base that is not certain is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import combinations, islice, product
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from medferry.apply.targets import ResolvedResource
from medferry.fhir.additions import split, storages
from medferry.fhir.canonical import Resource, canonical, hash_of_read, stored_hash
from medferry.fhir.footprint import Fields, Footprint, footprint_of, get, put
from medferry.fhir.identifiers import named_again
from medferry.fhir.merge import merge
from medferry.fhir.merging import element_of
from medferry.fhir.rulings import NOTHING_DECIDED, Rulings, told
from medferry.fhir.sides import Side
from medferry.manifest.crosswalk import CrosswalkEntry, Name
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import NoVerdict, RequestRefused

_MOST_ELEMENTS = 5
"""Of a conflict, so many are told."""

_MOST_GUESSES = 64
"""Of what may have been made at one version; a hash decides among them."""

_MOST_PLACES = 4
"""Of a version of others, so many changed places are guessed one by one: which of them came into the row?"""


class Change(NamedTuple):
    """A target that is in Medplum in another form, under the id that the crosswalk has of it."""

    target: ResolvedResource
    entry: CrosswalkEntry


class Conflicting(ValueError):
    """Both sides changed the same `elements`; the message names some of them, never values."""

    def __init__(self, elements: tuple[str, ...]) -> None:
        super().__init__(", ".join(elements[:_MOST_ELEMENTS]) + (" …" if len(elements) > _MOST_ELEMENTS else ""))
        self.elements = elements


class MergedTarget(NamedTuple):
    """What is to be stored, and the elements in which a ruling decided, with the side that won."""

    target: ResolvedResource
    ruled: Mapping[str, Side]


Made = Mapping[str, Resource]
"""Medplum's version → what the mapping had made of the row when a decision was applied in it."""


def nothing_made(_: Name) -> Made:
    """No decision was ever applied."""
    return {}


def read_bases(
    client: MedplumClient,
    changes: Iterable[Change],
    sent: Callable[[Name], AbstractSet[str]],
    kept: Callable[[Name], Made] = nothing_made,
) -> dict[Name, Resource]:
    """Name → what the mapping made before. `sent` are the hashes of what was sent and may have been stored.

    `kept` is what no history tells: a decision leaves what the mapping made out of the resource, or what others had.
    Missing is what is not certain. Raises what a client raises that reads.
    """
    merged: list[Change] = []
    plain: dict[str, Change] = {}
    for change in changes:
        if change.entry.wanted_hash or sent(change.target.name):
            merged.append(change)
        else:
            plain[f"{change.entry.medplum_id}/_history/{change.entry.version_id}"] = change
    found: dict[Name, Resource] = {}
    texts = client.read_each([(change.target.type, path) for path, change in plain.items()])
    for path, (_, text) in texts.items():
        change = plain[path]
        if stored_hash(text) == change.entry.content_hash:
            found[change.target.name] = split(orjson.loads(text))[0]
    ours = client.profile() if merged else ""
    for target, entry in merged:
        try:
            history = client.history(target.type, entry.medplum_id)
        except (NoVerdict, RequestRefused):  # too long, or gone meanwhile
            continue
        if all(one.get("resource", {}).get("meta", {}).get("versionId") != entry.version_id for one in history):
            continue  # restored from a backup: what was made in an older version says nothing of what is there
        hashes = {entry.wanted} | sent(target.name)
        base = made_before(history, ours, hashes, kept(target.name))
        base = base or (_made_within(history, target, hashes) if ours else None)
        if base is not None:
            found[target.name] = base
    return found


def made_before(
    history: Sequence[Mapping[str, Any]], ours: str, hashes: AbstractSet[str], kept: Made = MappingProxyType({})
) -> Resource | None:
    """The newest that the mapping has made with one of the hashes, by a history, the newest first, with its authors.

    What others have stored may have been made here, too, all of it or some places: told in both systems, or written
    back into the row, it was adopted without a write.
    """
    found = before = None
    made: list[Resource] = []
    versions = [entry["resource"] for entry in reversed(history) if "resource" in entry]
    own = frozenset[str]().union(*(storages(version) for version in versions if _is_by(ours, version))) or None
    for version in versions:
        stored = split(version, own)[0]
        if _is_by(ours, version):
            made = [_with_our_change(each, before, stored) for each in made] if made and before else [stored]
        else:
            guesses = made + [guess for each in made for guess in _adopted(each, before or {}, stored)]
            made = list({hash_of_read(guess): guess for guess in guesses}.values())[:_MOST_GUESSES]
        if (known := kept.get(version.get("meta", {}).get("versionId", ""))) is not None:
            made = [known]
        found = next((each for each in made if hash_of_read(each) in hashes), found)
        before = stored
    return found


def _made_within(
    history: Iterable[Mapping[str, Any]], target: ResolvedResource, hashes: AbstractSet[str]
) -> Resource | None:
    """What the mapping has made of a row whose resource users created: no version of it is what it made alone.

    It stands in a version, without the places that it does not fill (some it may have filled before), and with what it
    gives besides: names, tags, the types of references.
    """
    ours = orjson.loads(target.body)
    now, gives = footprint_of(ours), get(ours, footprint_of(ours))
    for stored in (split(entry["resource"])[0] for entry in history if "resource" in entry):
        others = [
            path
            for path in footprint_of(stored).tops
            if not any(path[:n] in now.paths for n in range(1, len(path) + 1))
        ]
        few = range(min(len(others), _MOST_PLACES) + 1)
        for left in (frozenset(some) for size in few for some in combinations(others, size)):
            try:
                without = put(stored, Footprint(frozenset(others) - left), {})
                complete = put(without, now, {**gives, **get(without, now)})
            except ValueError:  # a place is below what is no object here
                continue
            if (made := next((one for one in (without, complete) if hash_of_read(one) in hashes), None)) is not None:
                return made
    return None


def _is_by(ours: str, version: Resource) -> bool:
    return bool(ours) and bool(version.get("meta", {}).get("author", {}).get("reference") == ours)


def _with_our_change(made: Resource, before: Resource, stored: Resource) -> Resource:
    """What a write of ours has made of `before`, done to what was made; in conflict, the write was no merge."""
    try:
        changed = merge(before, stored, made, footprint_of(before) | footprint_of(stored))
    except ValueError:
        return stored
    return stored if changed.conflicts else changed.resource


def _adopted(made: Resource, before: Resource, stored: Resource) -> Iterator[Resource]:
    """What was made, with the values that stand there now: of all its own places, then of any of those that changed.

    Of a list, and of its elements, first all; then as much as was made, as the rest may have no place in the row.
    """
    places = footprint_of(before) | footprint_of(stored)
    was, is_ = get(before, places), get(stored, places)
    changed = [path for path in places.tops if was.get(path) != is_.get(path)]
    few = range(len(changed), 0, -1) if len(changed) <= _MOST_PLACES else [len(changed)]
    chosen = [Footprint(frozenset(some)) for size in few for some in combinations(changed, size)]
    for owned in [footprint_of(made), *chosen]:
        fields = get(stored, owned)
        for values in (fields, *_as_much_as(get(made, owned), fields)):
            try:
                yield put(made, owned, values)
            except ValueError:  # a place is below what is no object here
                continue


def _as_much_as(made: Fields, stored: Fields) -> Iterator[Fields]:
    """The stored fields, their lists cut to so many elements as were made, which these may be; and to their members."""
    lists = [path for path, had in made.items() if isinstance(had, list) and isinstance(stored.get(path), list)]
    cut = [list(islice(combinations(stored[path], len(made[path])), _MOST_PLACES)) for path in lists]
    for elements in islice(product(*cut), _MOST_PLACES):
        whole = {path: list(some) for path, some in zip(lists, elements, strict=True)}
        yield {**stored, **whole}
        yield {**stored, **{path: list(map(_members_of, made[path], some)) for path, some in whole.items()}}


def _members_of(made: Any, stored: Any) -> Any:
    """Of an element that is there, the members that were made."""
    if isinstance(made, dict) and isinstance(stored, dict):
        return {name: _members_of(made.get(name), value) for name, value in stored.items() if name in made}
    return stored


def merged_target(
    base: Resource, target: ResolvedResource, text: bytes, rulings: Rulings = NOTHING_DECIDED
) -> MergedTarget:
    """What is to be stored in place of the JSON `text`: all that others changed, and what we changed since `base`.

    Raises Conflicting; ValueError when the resource that is there cannot be read.
    """
    ours, theirs = orjson.loads(target.body), split(orjson.loads(text))[0]
    theirs = named_again(theirs, target.name, ours)  # by its name alone it is found the next time
    merged = merge(base, ours, theirs, footprint_of(base) | footprint_of(ours), rulings)
    if merged.conflicts:
        raise Conflicting(told({element_of(conflict.path) for conflict in merged.conflicts}))
    body = canonical(merged.resource)
    hash_ = hashlib.sha256(body).hexdigest()
    wanted = target.hash if hash_ != target.hash else None
    return MergedTarget(ResolvedResource(target.name, target.type, body, hash_, wanted), merged.ruled)
