"""Which Subscriptions in Medplum a backfill would fire, and whether each is as somebody has decided. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from medferry.plan.sections import SideEffect, SideEffectDecision

ACTIVE, OFF = "active", "off"
_INTERACTION = "https://medplum.com/fhir/StructureDefinition/subscription-supported-interaction"
_WRITES = frozenset(("create", "update"))

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SideEffectLine:
    """A Subscription on what the migration writes. `endpoint` names a Bot, or a host: never the whole URL."""

    place: str
    criteria: str
    endpoint: str
    ok: bool
    told: str
    remedy: str = ""


def lines_of(
    subscriptions: Iterable[Resource],
    types: Collection[str],
    decisions: Mapping[str, SideEffectDecision],
    tag: tuple[str, str],
    disabled: Collection[str],
) -> list[SideEffectLine]:
    """Of each that would fire on a resource of `types`, or that was `disabled` by us, in order of their places.

    `tag`: (system, code) on all that the migration writes.
    """
    found = []
    for one in sorted(subscriptions, key=lambda one: str(one["id"])):
        place = f"Subscription/{one['id']}"
        if place in disabled and one.get("status") == OFF:
            found.append(_line(one, True, "off, by us", "Restore it when its wave is flipped."))
        elif fires(one, types):
            found.append(_judged(one, decisions.get(place), tag))
    return found


def fires(subscription: Resource, types: Collection[str]) -> bool:
    """Whether a create or an update of one of some resource types may fire it."""
    wanted = str(subscription.get("criteria", "")).partition("?")[0]
    interactions = {
        extension.get("valueCode")
        for extension in subscription.get("extension", [])
        if extension.get("url") == _INTERACTION
    }
    return (
        subscription.get("status") == ACTIVE and wanted in types and (not interactions or bool(_WRITES & interactions))
    )


def leaves_out(criteria: str, tag: tuple[str, str]) -> bool:
    """Whether the criteria pass over what carries a tag."""
    return ("_tag:not", "|".join(tag)) in parse_qsl(criteria.partition("?")[2])


def _judged(one: Resource, decided: SideEffectDecision | None, tag: tuple[str, str]) -> SideEffectLine:
    if decided is None:
        remedy = f"Decide in the plan: side_effects, {' or '.join(SideEffect)}, by whom and why."
        return _line(one, False, "fires, and nobody has decided about it", remedy)
    by = f"by {decided.accepted_by}: {decided.reason}"
    if decided.decision is SideEffect.LEAVE:
        return _line(one, True, f"fires, {by}")
    if decided.decision is SideEffect.DISABLE:
        return _line(one, False, f"is to be off, {by}", "Run `medferry side-effects --disable` before the first load.")
    if leaves_out(str(one["criteria"]), tag):
        return _line(one, True, f"leaves out what the migration writes, {by}")
    remedy = f"Add _tag:not={'|'.join(tag)} to its criteria, in Medplum."
    return _line(one, False, f"is to be narrowed, and is not, {by}", remedy)


def _line(one: Resource, ok: bool, told: str, remedy: str = "") -> SideEffectLine:
    endpoint = str(one.get("channel", {}).get("endpoint", ""))
    shown = endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2] or endpoint
    return SideEffectLine(f"Subscription/{one['id']}", str(one.get("criteria", "")), shown, ok, told, remedy)
