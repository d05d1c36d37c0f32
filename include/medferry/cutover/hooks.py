"""What the switch needs of the floors above: they are handed in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from medferry.cutover.acts import Act
from medferry.cutover.drain import Time

Keys = Mapping[str, Collection[str]]
"""Entity → source keys."""


@dataclass(frozen=True)
class Hooks:
    """What the switch needs of the floors above."""

    verify: Callable[[Keys], str]
    """Verify the records of some keys and tell of it. Raises where anything is not equal."""
    route: Callable[[], str]
    """Let the routing say what the gates say."""
    safety: Callable[[], str]
    parity: Callable[[], str]
    """Each tells what was compared while users work in Medplum, and raises where it differs."""
    tell: Callable[[Act, str], None] = lambda *_: None
    """Called when an act has ended, with its evidence."""
    clock: Time = field(default_factory=Time)
