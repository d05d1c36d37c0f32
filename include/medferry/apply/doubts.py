"""Doubts: what was sent, by whomever, and of which the end is not known.

A batch that lost its answer may be at work still. A name in doubt is not sent again before evidence has told its end,
or before the time has passed in which any server would have come to it. Evidence is what a look-up finds: the resource
as it was sent; or, because Medplum does a batch's entries in their order, one that came later in the same batch.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medferry.apply.disputes import Content
from medferry.apply.plan import Location
from medferry.apply.targets import ResolvedResource
from medferry.fhir.canonical import stored_hash
from medferry.manifest.crosswalk import Action, Name
from medferry.manifest.sent_batches import SentBatch, SentEntry

Landed = Mapping[Name, Sequence[Location]]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One entry of a batch that has no known end. It holds its name back `until` (of the process's own clock)."""

    batch: int
    position: int
    entry: SentEntry
    until: float

    @property
    def creates(self) -> bool:
        return self.entry.action == Action.CREATE


@dataclass(slots=True)
class Doubts:
    """The doubts about the names that one chunk, or one look at the end of a run, is about.

    `settle_seconds` is how long a batch without an answer may be at work, if its sender says no longer; `lag`, in
    seconds, how far searches are behind. `ended` collects what became known.
    """

    settle_seconds: float
    clock: Callable[[], float] = time.monotonic
    lag: float = 0.0
    of: dict[Name, list[Doubt]] = field(default_factory=lambda: defaultdict(list))
    ended: set[tuple[int, Name]] = field(default_factory=set)
    """(note, name) of which the end is known now: to be taken out of the note when this is recorded."""
    _seen: dict[int, int] = field(default_factory=dict)
    """Note → position of the last of its creates that an earlier look-up has shown."""
    _seen_now: dict[int, int] = field(default_factory=dict)

    def add(self, batches: Iterable[SentBatch], names: Iterable[Name] | None = None) -> None:
        """Take over what open notes say, of some names or of all."""
        wanted = None if names is None else set(names)
        for batch in batches:
            until = self.clock() + batch.settles_after(self.settle_seconds) + self.lag - batch.age
            for position, entry in enumerate(batch.entries):
                if wanted is None or entry.name in wanted:
                    self.of[entry.name].append(Doubt(batch.id, position, entry, until))

    @property
    def actions(self) -> dict[Name, Action]:
        """Name → what was sent for it last and lost its answer: found done, it is an own write."""
        return {name: Action(doubts[-1].entry.action) for name, doubts in self.of.items() if doubts}

    @property
    def tell_more(self) -> bool:
        """Whether the newest look-up showed something that makes another one, at once, worth its while."""
        return bool(self._seen_now)

    def given_ids(self, names: Iterable[Name]) -> dict[Name, tuple[str, str]]:
        """Name → (resource type, id) of what Medplum says that it has created, and that could not be read yet."""
        return {
            name: (doubt.entry.resource_type, doubt.entry.medplum_id)
            for name in names
            for doubt in self.of.get(name, ())
            if doubt.creates and doubt.entry.medplum_id
        }

    def own(self, name: Name, content: Content) -> bool:
        """Whether the content is what was sent for this name, with nothing of anybody else's in it."""
        hashes = {doubt.entry.content_hash for doubt in self.of.get(name, ()) if not doubt.entry.wanted_hash}
        return bool(hashes) and stored_hash(content[1]) in hashes

    def hashes(self, name: Name) -> set[str]:
        """Of what was sent for this name and may have been stored, as the mapping made it."""
        return {doubt.entry.wanted for doubt in self.of.get(name, ())}

    def sent(self, name: Name, content: Content) -> bool:
        """Whether the content is what was sent for this name, merged or not."""
        hashes = {doubt.entry.content_hash for doubt in self.of.get(name, ())}
        return bool(hashes) and stored_hash(content[1]) in hashes

    def held_back(self, targets: Sequence[ResolvedResource], found: Landed) -> set[Name]:
        """Names that must wait, by what a look-up has `found` that began after the last call; keeps what it tells."""
        self._seen |= {batch: max(at, self._seen.get(batch, -1)) for batch, at in self._seen_now.items()}
        self._seen_now.clear()
        waiting: set[Name] = set()
        for target in targets:
            if target.name not in self.of:
                continue
            present = found.get(target.name, ())
            open_doubts = [doubt for doubt in self.of[target.name] if (doubt.batch, target.name) not in self.ended]
            if any(self._holds(doubt, target, present) for doubt in open_doubts):
                waiting.add(target.name)
        return waiting

    def saw(self, name: Name, content: Content) -> None:
        """Tell of a resource that a look-up found, in doubt until now, with its content."""
        for doubt in self.of.get(name, ()):
            if doubt.creates and stored_hash(content[1]) == doubt.entry.content_hash:
                self._seen_now[doubt.batch] = max(doubt.position, self._seen_now.get(doubt.batch, -1))
                self.ended.add((doubt.batch, name))

    def _holds(self, doubt: Doubt, target: ResolvedResource, present: Sequence[Location]) -> bool:
        """Whether a doubt keeps its name from being sent; what is past its time holds nothing, but stays watched."""
        at = (doubt.batch, target.name)
        if self.clock() >= doubt.until:
            return False
        if doubt.creates:
            if present:
                return False
            if doubt.position < self._seen.get(doubt.batch, -1) and not doubt.entry.medplum_id:
                self.ended.add(at)  # a later one of the batch was there before this look-up began: this one failed
                return False
            return True
        if not present or any(version != doubt.entry.version_id for _, version in present):
            self.ended.add(at)  # done, or refused by its condition: it cannot be done any more
            return False
        return target.hash != doubt.entry.wanted  # the same update is safe to send again, by its condition
