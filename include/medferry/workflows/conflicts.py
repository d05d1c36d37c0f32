"""Conflicts as people see them and decide about them. Values leave the store for who asks, and for no log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from medferry.errors import MedferryError
from medferry.fhir.additions import split
from medferry.fhir.canonical import Resource
from medferry.fhir.footprint import Footprint, footprint_of, get, shown
from medferry.fhir.merge import merge
from medferry.fhir.sides import Side
from medferry.manifest import conflict_decisions
from medferry.manifest.conflicts import (
    WHOLE,
    Conflict,
    ConflictState,
    KeptValue,
    find_conflict,
)
from medferry.manifest.decisions import BY_PLAN, RecordedDecision, digest_of
from medferry.manifest.spoken import Matter
from medferry.plan.people import Approval
from medferry.runtime.environment import Environment
from medferry.store.values import Pointer, ValueMissing
from medferry.workflows.four_eyes import say


class NoSuchConflict(MedferryError):
    """The migration has no conflict of that number."""


class NotDecided(MedferryError):
    """A decision lacks what it needs."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place of a resource in which the sides differ; None: it is empty there, or not kept any more."""

    path: str
    base: Any = field(repr=False)
    legacy: Any = field(repr=False)
    medplum: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class ShownConflict:
    """A conflict with both sides' values, which are patient data."""

    conflict: Conflict
    decided: dict[str, RecordedDecision]
    places: Sequence[Place] = field(repr=False)


def find(environment: Environment, number: int) -> Conflict:
    """Raises NoSuchConflict."""
    with environment.manifest.begin() as connection:
        found = find_conflict(connection, environment.migration.name, number)
    if found is None:
        raise NoSuchConflict(f"There is no conflict {number}.", "See `medferry conflicts list --all`.")
    return found


def show(environment: Environment, number: int) -> ShownConflict:
    """A conflict with both sides. Raises NoSuchConflict; KeyMissing, WrongKey, ValueChanged."""
    conflict = find(environment, number)
    with environment.manifest.begin() as connection:
        decided = conflict_decisions.decided_paths(connection, [conflict])[conflict.id]
    return ShownConflict(conflict, decided, _places(environment, conflict))


def decide(
    environment: Environment, number: int, side: Side, paths: Sequence[str], person: str, reason: str
) -> ConflictState:
    """Decide of some paths (none: of all) whose values stand; the next cycle does it.

    Raises NoSuchConflict, NotDecided, ConflictClosed, UnknownPath; WaitingForSecond where the plan asks for two.
    """
    if not person.strip() or not reason.strip():
        raise NotDecided("A decision needs a person and a reason.", "Give --by and --reason, without patient data.")
    if person.strip() == BY_PLAN:
        raise NotDecided(f"{BY_PLAN} is no person: the plan's own decisions have that name.", "Name a person: --by.")
    conflict = find(environment, number)
    with environment.decisions.begin() as connection:
        state = digest_of(conflict.digest, conflict.changed_at, side, *(sorted(paths) or conflict.paths))
        matter = Matter(conflict.migration, Approval.CONFLICT, f"conflict/{number}", state)
        agreement = say(connection, environment.migration.plan, matter, person.strip()[:100], reason.strip())
        if agreement.agreed:
            made_by = (agreement.person, reason.strip()[:1000])
            return conflict_decisions.decide(connection, conflict, paths, side, *made_by)
    agreement.require()
    return conflict.state


def _places(environment: Environment, conflict: Conflict) -> list[Place]:
    read = partial(_read, environment)
    base, legacy, medplum = read(conflict.base), read(conflict.legacy), read(conflict.medplum)
    if base and legacy and medplum and conflict.paths != (WHOLE,):
        merged = merge(base, legacy, medplum, footprint_of(base) | footprint_of(legacy))
        if merged.conflicts:
            return [Place(shown(one.path), one.base, one.ours, one.theirs) for one in merged.conflicts]
    owned = Footprint(frozenset()) | footprint_of(legacy or {}) | footprint_of(base or {})
    sides = [get(each or {}, owned) for each in (base, legacy, medplum)]
    rows = [Place(shown(path), *(side.get(path) for side in sides)) for path in owned.tops]
    return [row for row in rows if row.legacy != row.medplum]


def _read(environment: Environment, kept: KeptValue | None) -> Resource | None:
    if kept is None:
        return None
    try:
        return split(orjson.loads(environment.values.get(Pointer(*kept))))[0]
    except ValueMissing:
        return None
