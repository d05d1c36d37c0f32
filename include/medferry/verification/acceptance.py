"""Acceptance: how many source records may be set aside, of the subject, of each entity, of each unit; never all of one.

A record is set aside when it is rejected, quarantined or skipped. Whether a skipped one may be missing is judged by the
checks' `when` (`identity`); without checks nobody but the mapping has said so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.dead_letters import dispositions_now
from medferry.manifest.subject import count_by_unit_and_disposition
from medferry.mapping.outcomes import Disposition
from medferry.plan.model import Acceptance, Limits
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

ENTITY, UNIT = "acceptance: entity", "acceptance: unit"
_LIMITED = (Disposition.REJECTED, Disposition.QUARANTINED, Disposition.SKIPPED)


@dataclass(frozen=True, slots=True)
class Group:
    """The source records of a unit's entity, by disposition. Pending ones (of a dry run) are not set aside."""

    unit: str
    entity: str
    counts: Counter[str]

    @property
    def eligible(self) -> int:
        return self.counts.total()

    @property
    def set_aside(self) -> int:
        return sum(self.counts[disposition] for disposition in _LIMITED)


def examine_subject(scope: VerificationScope, recorder: CheckRecorder) -> None:
    """The plan's limits on the whole subject, and on each of its units.

    A replay holds failures only: judged is what it has made of the whole run that it, or the run it replays, replays.
    """
    acceptance = scope.migration.plan.acceptance
    entities = list(scope.migration.specs) if scope.run and scope.run.replays else scope.entities
    groups = [group for entity in entities for group in _groups(scope, entity)]
    whole = _together(groups)
    subject = scope.run.id if scope.run else "subject"
    for disposition in _LIMITED:
        check, limit, number = f"acceptance: {disposition}", _share(acceptance, disposition), whole.counts[disposition]
        recorder.expect(check, f"{number:,} of {whole.eligible:,} {disposition}; at most {limit:.2%} accepted")
        if number > limit * whole.eligible:
            recorder.over_limit(check, subject, f"{number} of {whole.eligible} {disposition}", "over the threshold")
        else:
            recorder.equal(check, whole.eligible)
    recorder.expect(UNIT)
    for unit in sorted({group.unit for group in groups}) if _judges_groups(scope) else ():
        own = acceptance.units.get(unit, Limits())
        found = _faults(_together(group for group in groups if group.unit == unit), _limits(acceptance, own))
        _tell(recorder, UNIT, f"unit {unit}", found)


def examine_entity(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> None:
    """The plan's limits on one entity; and of no unit, and not of all of them, may everything be set aside."""
    recorder.expect(ENTITY)
    if not _judges_groups(scope, entity):
        return
    acceptance, groups = scope.migration.plan.acceptance, _groups(scope, entity)
    own = acceptance.entities.get(entity, Limits())
    _tell(recorder, ENTITY, entity, _faults(_together(groups), _limits(acceptance, own)))
    for group in groups:
        if group.eligible and group.set_aside == group.eligible and not _may_be_set_aside(scope, group):
            recorder.over_limit(ENTITY, f"{group.unit}/{entity}", _shown(group), "everything set aside")
        else:
            recorder.equal(ENTITY)


def _judges_groups(scope: VerificationScope, entity: str = "") -> bool:
    """Some keys that somebody chose are no group of which a share would say anything."""
    return scope.run is not None or not (entity in scope.keys if entity else scope.keys)


def _may_be_set_aside(scope: VerificationScope, group: Group) -> bool:
    acceptance = scope.migration.plan.acceptance
    if f"{group.unit}/{group.entity}" in acceptance.may_be_set_aside:
        return True
    if group.eligible < acceptance.small_group:
        return True
    # Each of its rows was held against the checks' `when`, which say as well that there is nothing to be of it.
    return scope.checks(group.entity) is not None and group.counts[Disposition.SKIPPED] == group.eligible


def _groups(scope: VerificationScope, entity: str) -> list[Group]:
    with scope.environment.manifest.begin() as connection:
        found = _counted(scope, connection, entity)
    units = sorted({unit for unit, _ in found})
    return [Group(unit, entity, Counter({d: n for (u, d), n in found.items() if u == unit})) for unit in units]


def _counted(scope: VerificationScope, connection: sa.Connection, entity: str) -> dict[tuple[str, str], int]:
    if scope.run is not None and scope.run.replays:
        return dispositions_now(connection, scope.run, entity)
    return count_by_unit_and_disposition(connection, scope.records, entity)


def _share(acceptance: Acceptance, disposition: Disposition) -> float:
    return float(getattr(acceptance, f"max_{disposition}_share"))


def _limits(acceptance: Acceptance, own: Limits) -> dict[Disposition, float]:
    """The limits of an entity or a unit: its own, else those of the whole."""
    given = {name: getattr(own, f"max_{name}_share") for name in _LIMITED}
    return {name: _share(acceptance, name) if limit is None else limit for name, limit in given.items()}


def _together(groups: Iterable[Group]) -> Group:
    return Group("", "", sum((group.counts for group in groups), Counter[str]()))


def _faults(group: Group, limits: dict[Disposition, float]) -> list[str]:
    over = [name for name, limit in limits.items() if group.counts[name] > limit * group.eligible]
    return [f"{group.counts[name]} of {group.eligible} {name}, at most {limits[name]:.2%}" for name in over]


def _tell(recorder: CheckRecorder, check: str, key: str, faults: list[str]) -> None:
    for fault in faults:
        recorder.over_limit(check, key, fault, "over the threshold")
    if not faults:
        recorder.equal(check)


def _shown(group: Group) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(group.counts.items()) if number)
