"""What became of the targets that a writer was given."""

from __future__ import annotations

from dataclasses import dataclass, field

from medferry.apply.plan import Settlement
from medferry.manifest.crosswalk import Attempt, Name
from medferry.manifest.sent_batches import SentEntry


@dataclass(slots=True)
class WriteResult:
    """How each target ended, everything that was sent on the way, and what became of the notes of it."""

    settled: dict[Name, Settlement] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    waiting: set[Name] = field(default_factory=set)
    """Targets in doubt: neither settled nor to be sent again yet."""
    closed: set[int] = field(default_factory=set)
    """Notes of which every answer came."""
    unproven: dict[int, list[SentEntry]] = field(default_factory=dict)
    """Answered notes → their creates that Medplum says it has done, and that could not be read yet."""
    ended: set[tuple[int, Name]] = field(default_factory=set)
    """(note, name) of entries without an answer whose end became known otherwise."""
    unanswered: dict[int, float] = field(default_factory=dict)
    """Notes of batches that got no answer → when that was known, of the process's clock."""
    ruled: set[Name] = field(default_factory=set)
    """Of which a decision has told whose values stand."""
