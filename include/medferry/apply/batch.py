"""One batch of writes: noted, then sent in a free lane; what its end says about the note."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from medferry.apply.departure import Noted, NotSent
from medferry.apply.entry import batch_entry, sent_entry
from medferry.apply.plan import Step
from medferry.errors import MedferryError
from medferry.manifest.sent_batches import SentBatch, SentEntry
from medferry.medplum import budget as points
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable, NotReached, RequestFailed, RequestTooLarge, Throttled
from medferry.medplum.limiter import BatchHealth, ConcurrencyLimiter, health_of

Note = Callable[[Sequence[SentEntry]], Noted]
"""Writes down what is about to be sent. Raises LeaseLost: then nothing is sent."""


@dataclass(slots=True)
class BatchSender:
    """Sends batches of one entity, and keeps what became of the notes.

    `stay_alive` raises LeaseLost when the targets are another's now.
    """

    client: MedplumClient
    limiter: ConcurrencyLimiter
    entity: str
    note: Note
    stay_alive: Callable[[], None]
    settle_seconds: float
    closed: set[int] = field(default_factory=set)
    """Notes of which every answer came, or of which nothing was done."""
    lost: list[SentBatch] = field(default_factory=list)
    """Notes that got no answer since `take_lost`."""
    unanswered: dict[int, float] = field(default_factory=dict)
    """Notes of batches that got no answer → when that was known (of the process's clock): each had left by then."""

    def send(self, steps: Sequence[Step], conditional: Sequence[bool]) -> tuple[int, list[EntryOutcome]]:
        """The note's number and every entry's outcome. `conditional`: which creates have a condition.

        Steps with accounts do not go with others: an admin's entries without any would clear, or not inherit them.
        Raises what the client raises; when no answer came, the note stays open and is among `lost`.
        """
        self.stay_alive()
        entries = tuple(sent_entry(step) for step in steps)
        notes: list[Noted] = []
        try:
            outcomes = self._in_a_lane(steps, conditional, entries, notes)
        except MedplumUnavailable as error:
            numbers = [note.number for note in notes]
            if isinstance(error, NotReached):
                self.closed.update(numbers)
            elif isinstance(error, RequestFailed):  # it is at its end: the next look-up tells all
                self.lost += [SentBatch(number, "", self.entity, inf, entries) for number in numbers]
                self.closed.update(numbers)
            else:
                self.lost += [SentBatch(number, "", self.entity, 0.0, entries) for number in numbers]
                self.unanswered |= dict.fromkeys(numbers, time.monotonic())
            raise
        except MedferryError:  # refused as a whole: nothing of it was done
            self.closed.update(note.number for note in notes)
            raise
        [noted] = notes
        self.closed.add(noted.number)
        return noted.number, outcomes

    def take_lost(self) -> list[SentBatch]:
        """The notes without an answer since the last call."""
        lost, self.lost = self.lost, []
        return lost

    def _in_a_lane(
        self, steps: Sequence[Step], conditional: Sequence[bool], sent: Sequence[SentEntry], notes: list[Noted]
    ) -> list[EntryOutcome]:
        """Sent as `sent` says, of which the note is added to `notes`."""
        pairs = list(zip(steps, conditional, strict=True))
        cost = sum(points.CONDITIONAL_WRITE_IN_BATCH if condition else points.WRITE for _, condition in pairs)
        entries = [batch_entry(step, condition) for step, condition in pairs]
        health = BatchHealth.FAILING
        with self.limiter.slot():
            try:
                outcomes = self.client.batch(
                    entries,
                    cost,
                    before=lambda: notes.append(self.note(sent)),
                    extended=any(step.accounts for step in steps),
                    departing=lambda: notes[-1].check(self.settle_seconds),
                )
                health = health_of(outcome.status for outcome in outcomes)
                return outcomes
            except Throttled:
                health = BatchHealth.STRAINED
                raise
            except (RequestTooLarge, NotSent):
                health = BatchHealth.WELL
                raise
            finally:
                self.limiter.finished(health)
