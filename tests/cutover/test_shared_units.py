"""Units that are shared: loaded with the first wave, and written in the legacy database until the last has gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from medferry.cutover.acts import Act, Place
from medferry.cutover.gates import Gates
from medferry.definition.gate import GateRules
from medferry.manifest.cutovers import Direction
from medferry.plan.authority import AuthorityMatrix
from medferry.runtime.environment import Environment
from medferry.workflows.cutover import prepare, switching
from tests.cutover.conftest import Clinic
from tests.cutover.test_switch import choice
from tests.users import OPEN, SECRET

BOTH = {"domain": "people", "writer": "both", "accepted_by": "A. Owner", "reason": "both teams are at work"}


@pytest.fixture
def shared(clinic: Clinic) -> Environment:
    """Users of what is shared have a policy of their own, too."""
    environment = clinic.environment
    [group] = clinic.users.admin.search_all("Organization", [("name", "Group")])
    place = f"Organization/{group['id']}"
    policy = clinic.users.policy([OPEN | {"criteria": f"Patient?organization={place}"}])
    creates = {"resourceType": "Patient", "managingOrganization": {"reference": place}}
    assert environment.migration.gate is not None
    rules: dict[str, Any] = environment.migration.gate.model_dump()
    rules["medplum"]["policies"].append(
        {"policy": policy["id"], "unit": "shared", "probe": "shared", "creates": creates}
    )
    probes = {**environment.settings.probes, "shared": (clinic.users.member(policy["id"]), SECRET)}
    migration = replace(environment.migration, gate=GateRules.model_validate(rules))
    return Environment(migration, replace(environment.settings, probes=probes))


def place(clinic: Clinic, environment: Environment) -> Place:
    return Gates(environment, clinic.users.admin).places(["shared"])["shared"]


def test_nobody_writes_them_in_medplum_once_the_first_wave_is_prepared(clinic: Clinic, shared: Environment) -> None:
    assert place(clinic, shared) is Place.BOTH
    assert prepare(shared, "pilot", choice()) == "north, shared"
    assert place(clinic, shared) is Place.LEGACY


def test_those_of_two_writers_stay_open(clinic: Clinic, shared: Environment) -> None:
    rule = {**BOTH, "units": ["shared"]}
    matrix = AuthorityMatrix.model_validate({"domains": {"people": ["patient"]}, "rules": [rule]})
    plan = shared.migration.plan.model_copy(update={"authority": matrix})
    both = Environment(replace(shared.migration, plan=plan), shared.settings)
    assert prepare(both, "pilot", choice()) == "north"
    assert place(clinic, both) is Place.BOTH


def test_an_attempt_that_died_early_takes_along_what_is_shared_when_the_others_have_gone(
    clinic: Clinic, shared: Environment
) -> None:
    """Else they are left behind, and nothing is written in Medplum to what all waves share."""
    prepare(shared, "pilot", choice())
    with switching(shared, "pilot", Direction.FORTH, choice()) as died:
        assert set(died.units) == {"north"}
    gate, capture = clinic.gate, shared.capture
    gate.close(capture, "south", 0, 600, 5)
    gate.shut(capture, "south", Gates(shared, clinic.users.admin).legacy_of(["south"])["south"].epoch)
    with switching(shared, "pilot", Direction.FORTH, choice()) as again:
        assert set(again.units) == {"north", "shared"}
        again.perform(Act.CLOSE_LEGACY)
    assert place(clinic, shared) is Place.FROZEN
    gate.reopen(capture, "south", Gates(shared, clinic.users.admin).legacy_of(["south"])["south"].epoch)
    with switching(shared, "pilot", Direction.FORTH, choice(), moves=False) as frozen:
        assert set(frozen.units) == {"north", "shared"}, "what is closed is that attempt's to open"
