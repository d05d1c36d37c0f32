"""The acts of the switch, in their order. Who performs them is handed in: the switch itself, or its dry run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Protocol

from medferry.cutover.medplum_gate import PolicyState, UnitPolicies
from medferry.source.gate.gate import GateState, UnitGate


class Act(StrEnum):
    """A step that is noted before and after, and may be repeated by itself."""

    CLOSE_MEDPLUM = "close-medplum"
    """Nobody may write the units in Medplum, and a probe has shown it."""
    WAIT_OUT = "wait-out"
    """What was at work in Medplum when it was closed has ended, and what it wrote is in the legacy database."""
    CLOSE_LEGACY = "close-legacy"
    """The freeze begins: nobody writes the units in the legacy database, and who did has ended."""
    FENCE = "fence"
    FINAL_CUT = "final-cut"
    """The fence has arrived: so has everything before it."""
    VERIFY = "verify"
    """What has changed since the units were verified is verified."""
    REVERSE_START = "reverse-start"
    """From where users' writes in Medplum are read is noted, and the way back works."""
    SHUT_LEGACY = "shut-legacy"
    """The legacy gates are shut for good: only from here on it is too late to thaw by itself."""
    OPEN_MEDPLUM = "open-medplum"
    ROUTE = "route"
    """The routing says where the units are now."""
    REVERSE_ON = "reverse-on"
    SAFETY = "clinical-safety"
    """No allergy, medication or problem was lost or altered, or is back: both systems say the same."""
    PARITY = "read-parity"
    """The same questions were answered alike by both systems."""
    PROVE = "prove"
    """Every write in Medplum since the flip is in the legacy database."""
    REOPEN_LEGACY = "reopen-legacy"
    THAW = "thaw"
    """All is as it was before the attempt."""


FREEZE = (Act.CLOSE_MEDPLUM, Act.WAIT_OUT, Act.CLOSE_LEGACY, Act.FENCE, Act.FINAL_CUT, Act.VERIFY, Act.REVERSE_START)
"""Until here nothing is flipped, and the freeze ends by itself."""
FLIP = (Act.OPEN_MEDPLUM, Act.ROUTE, Act.REVERSE_ON)
"""Once all legacy gates are shut."""
OBSERVE = (Act.SAFETY, Act.PARITY)
"""While users work in Medplum: what fails moves nothing, and tells that somebody must decide."""
FORTH = (*FREEZE, Act.SHUT_LEGACY, *FLIP, *OBSERVE)
DRAIN = (Act.CLOSE_MEDPLUM, Act.WAIT_OUT, Act.PROVE)
"""Until here nothing is flipped back."""
BACK = (*DRAIN, Act.REOPEN_LEGACY, Act.ROUTE)


WHILE_HELD = (Act.THAW, Act.OPEN_MEDPLUM, Act.ROUTE, Act.SAFETY, Act.PARITY)
"""Acts that are done also while all writing is held: they lead out, or only read."""


class Acting(Protocol):
    """Whoever performs acts: for real, or by telling of them."""

    def perform(self, act: Act) -> None:
        """Raises what keeps the act from being done."""


class Place(StrEnum):
    """Where a unit can be written, by both of its gates."""

    LEGACY = "legacy"
    FROZEN = "frozen"
    """Nowhere, until a time: then it is in the legacy database again."""
    BETWEEN = "between"
    """Nowhere, until somebody acts."""
    MEDPLUM = "medplum"
    BOTH = "both"
    """In both, or soon: two writers before their cutover, or a fault."""


def place_of(legacy: UnitGate, medplum: UnitPolicies) -> Place:
    """What both gates of a unit say."""
    if legacy.state is GateState.SHUT:
        return Place.MEDPLUM if medplum.state is PolicyState.OPEN else Place.BETWEEN
    if medplum.state is PolicyState.OPEN:
        return Place.BOTH
    return Place.FROZEN if legacy.state is GateState.CLOSED else Place.LEGACY


def all_among(found: Iterable[Place], places: Collection[Place]) -> bool:
    """Whether there is any, and none elsewhere."""
    of = set(found)
    return bool(of) and of <= set(places)
