"""A user's write that must fail: whether a unit is closed in Medplum is tried, not believed.

What the user may create, and is refused now, proves a policy closed only where the same user was seen to create it.
What is created by it is deleted at once; what a killed process has left is deleted by the next one.
"""

from __future__ import annotations

from enum import StrEnum

from medferry.definition.gate import PROBE, PolicyRule, tag_system
from medferry.errors import TransientError
from medferry.medplum import budget as points
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable
from medferry.runtime.environment import Environment


class ProbeUnclear(TransientError):
    """The probe was neither let through nor refused for its policy's sake: nothing is known of the gate."""


class Tried(StrEnum):
    """What became of a probe's write."""

    WRITTEN = "written"
    REFUSED = "refused"


def try_write(environment: Environment, admin: MedplumClient, rule: PolicyRule) -> Tried:
    """Let the probe of a policy create its resource, and delete that. Raises ProbeUnclear, SettingsError."""
    system = tag_system(environment.migration.plan.base)
    kind = str(rule.creates["resourceType"])
    remove_left(admin, kind, system)
    resource = {**rule.creates, "meta": {"tag": [{"system": system, "code": PROBE}]}}
    with environment.probe(rule.probe) as user:
        try:
            [made] = user.batch([{"resource": resource, "request": {"method": "POST", "url": kind}}], points.WRITE)
        except MedplumUnavailable as error:
            raise _unclear(rule, error.problem) from None
    if made.status == 403:
        return Tried.REFUSED
    if made.status != 201:
        raise _unclear(rule, f"its write was answered {made.status} ({made.issue or 'no reason'}).")
    _delete(admin, kind, [made.id])
    return Tried.WRITTEN


def remove_left(admin: MedplumClient, kind: str, system: str) -> None:
    """Delete what a killed probe has left."""
    left = [str(one["id"]) for one in admin.search_all(kind, [("_tag", f"{system}|{PROBE}"), ("_fields", "id,meta")])]
    if left:
        _delete(admin, kind, left)


def _delete(admin: MedplumClient, kind: str, ids: list[str]) -> None:
    entries = [{"request": {"method": "DELETE", "url": f"{kind}/{one}"}} for one in ids]
    for id_, outcome in zip(ids, admin.batch(entries, points.WRITE * len(entries)), strict=True):
        if outcome.status >= 300 and outcome.status not in (404, 410):
            raise ProbeUnclear(
                f"What a probe has created could not be deleted: {kind}/{id_} ({outcome.status}).",
                "Delete it by hand, and let Medferry's client delete such resources.",
            )


def _unclear(rule: PolicyRule, why: str) -> ProbeUnclear:
    return ProbeUnclear(
        f"The probe {rule.probe} of {rule.unit} says nothing: {why}",
        "Correct `creates` in gate.yaml until this user can create it while the policy lets them write.",
    )
