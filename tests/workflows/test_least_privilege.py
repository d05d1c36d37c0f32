"""Medferry's client under the policy that is made of the migration: it can do its work, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.apply.twins import Kept
from medferry.definition.access import access_policy
from medferry.manifest.checks import CheckStatus, checks_of
from medferry.medplum.client import MedplumClient
from medferry.plan.model import LeftoverPolicy
from medferry.runtime.environment import Environment
from medferry.workflows.heal import heal
from tests.tiny_platform import RESOURCES
from tests.users import SECRET, Users
from tests.workflows.test_migrate import migrate


def bound(tiny: Environment, medplum: EmbeddedMedplum, policy: dict[str, Any]) -> Environment:
    """The platform with a client under a policy."""
    with MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret) as admin:
        users = Users(admin, medplum.base_url)
        client_id = users.member(users.policy(policy["resource"])["id"])
    settings = replace(tiny.settings, medplum_client_id=client_id, medplum_client_secret=SECRET)
    return replace(tiny, settings=settings)


def test_a_run_under_it_is_whole_and_proven_and_the_next_changes_nothing(
    tiny: Environment, medplum: EmbeddedMedplum, caplog: pytest.LogCaptureFixture
) -> None:
    ours = bound(tiny, medplum, access_policy(tiny.migration))
    assert migrate(ours, "first")["created"] == RESOURCES
    assert migrate(ours, "second") == {"created": 0, "updated": 0, "unchanged": RESOURCES}
    assert "could not be claimed" not in caplog.text
    with ours.manifest.begin() as connection:
        checks = checks_of(connection, "second")
    assert checks and {one.status for one in checks} <= {CheckStatus.EQUAL, CheckStatus.NOTHING}


def test_it_may_do_nothing_else(tiny: Environment, medplum: EmbeddedMedplum) -> None:
    ours = bound(tiny, medplum, access_policy(tiny.migration))
    migrate(ours, "first")
    with ours.medplum() as client:
        found = client.search("Patient", [])["entry"][0]["resource"]["id"]
        entries = [
            {"request": {"method": "DELETE", "url": f"Patient/{found}"}},
            {"resource": {"resourceType": "Encounter"}, "request": {"method": "POST", "url": "Encounter"}},
            {
                "resource": {"resourceType": "Basic", "code": {"text": "x"}},
                "request": {"method": "POST", "url": "Basic"},
            },
            {"resource": {"resourceType": "AccessPolicy"}, "request": {"method": "POST", "url": "AccessPolicy"}},
        ]
        assert [outcome.status for outcome in client.batch(entries, 0)] == [403] * 4
        answers = client._in_batch(["ClientApplication", "ProjectMembership", "Encounter", "Communication"], 20)
        assert [answer.status for answer in answers] == [403] * 4


@pytest.mark.parametrize("referred_to", [False, True])
def test_under_one_that_deletes_a_twin_is_removed_unless_something_refers_to_it(
    tiny: Environment, medplum: EmbeddedMedplum, referred_to: bool
) -> None:
    ours = bound(tiny, medplum, access_policy(tiny.migration, deletes=True))
    migrate(ours, "first")
    with ours.medplum() as client:
        one = client.search("Patient", [])["entry"][0]["resource"]
        body = {name: value for name, value in one.items() if name != "id"}
        [made] = client.batch([{"resource": body, "request": {"method": "POST", "url": "Patient"}}], 100)
    note = {"resourceType": "Communication", "status": "completed", "subject": {"reference": f"Patient/{made.id}"}}
    with tiny.medplum() as another:
        if referred_to:
            another.batch([{"resource": note, "request": {"method": "POST", "url": "Communication"}}], 100)
    [found] = heal(ours, "heal.1", apply=True)
    assert (found.reason and found.reason.why) == (Kept.REFERRED_TO if referred_to else None)


def test_only_what_the_plan_lets_be_removed_may_be_deleted(tiny: Environment) -> None:
    def deletes(policy: dict[str, Any]) -> set[str]:
        return {one["resourceType"] for one in policy["resource"] if "delete" in one["interaction"]} - {"Basic"}

    assert deletes(access_policy(tiny.migration)) == set()
    plan = tiny.migration.plan.model_copy(update={"entity_leftovers": {"weight": LeftoverPolicy.REMOVE}})
    assert deletes(access_policy(replace(tiny.migration, plan=plan))) == {"Observation"}
    assert "Patient" in deletes(access_policy(tiny.migration, deletes=True))
