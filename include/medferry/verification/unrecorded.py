"""Look at parts of a verification and record nothing: for who asks what is so now, and whose answer is no verdict.

Of what is kept in step, what differs is looked at twice, as a verification that moves does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from medferry.manifest.checks import CheckResult, Difference
from medferry.manifest.clock import read_clock
from medferry.manifest.unit_state import decided_since
from medferry.medplum.client import MedplumClient
from medferry.verification.moving_units import units_of
from medferry.verification.part import VerificationPart
from medferry.verification.scope import VerificationScope
from medferry.verification.second_look import FirstLook, Motion, SecondLook, wait_for


@dataclass(frozen=True)
class Examined:
    """What a part has found of its entity."""

    entity: str
    results: list[CheckResult]
    differences: list[Difference]


def examine_parts(
    scope: VerificationScope, parts: Sequence[VerificationPart], client: MedplumClient, motion: Motion | None
) -> list[Examined]:
    """Each part once, and once more where something differs; all results are in memory, so ask it of a few entities.

    Without a `motion` nothing is on its way, and the first look counts.
    """
    looks: list[tuple[VerificationPart, FirstLook, list[Difference]]] = []
    for part in parts:
        found: list[Difference] = []
        first = FirstLook(part.entity, found.extend)
        part.examine(first)
        looks.append((part, first, found))
    if motion is None:
        return [Examined(part.entity, first.results(), found) for part, first, found in looks]
    wait_for(client, motion, [first for _, first, _ in looks])
    examined = []
    for part, first, found in looks:
        results = first.results()
        if first.looks_again:
            examined.append(_again(scope, part, first, client, motion))
        else:
            examined.append(Examined(part.entity, results, found))
    return examined


def _again(
    scope: VerificationScope, part: VerificationPart, first: FirstLook, client: MedplumClient, motion: Motion
) -> Examined:
    with scope.environment.manifest.begin() as connection:
        began = read_clock(connection)
    found: list[Difference] = []
    second = SecondLook(
        part.entity, found.extend, units_of=partial(units_of, scope), first=first.seen, before=motion(client)
    )
    part.examine(second)
    moving = {entity: set(keys) for entity, keys in motion(client).items()}
    with scope.environment.manifest.begin() as connection:
        decided = decided_since(connection, scope.migration.name, scope.units, began)
    for entity, keys in decided.items():
        moving.setdefault(entity, set()).update(keys)
    second.settle(moving)
    return Examined(part.entity, second.results(), found)
