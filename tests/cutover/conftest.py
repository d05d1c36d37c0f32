"""The tiny platform in step, with gates on both sides: a unit whose users have a policy in Medplum, and a probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from medferry.cutover.medplum_gate import MedplumGate
from medferry.definition.gate import GateRules
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install
from medferry.source.gate.engines import gate_of
from medferry.source.gate.gate import Gate
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import captured, loaded, wave, write
from tests.users import OPEN, SECRET, Users

__all__ = ["captured", "loaded", "wave", "write"]

Resource = dict[str, Any]
GATED = {"patient": "unit", "weight": "unit"}


@dataclass
class Clinic:
    """The clinic north: its environment with gates, its policy in Medplum, and the client of one of its users."""

    environment: Environment
    users: Users
    policy: str
    user: MedplumClient

    @property
    def gate(self) -> Gate:
        rules = self.environment.migration.gate
        assert rules is not None
        return gate_of(self.environment.capture, self.environment.migration.plan.unit_ids, rules.gated())

    @property
    def entries(self) -> list[Resource]:
        return list(self.users.read("AccessPolicy", self.policy)["resource"])

    def medplum(self) -> MedplumGate:
        return MedplumGate(self.environment, self.users.admin)

    def rename(self, key: int, family: str) -> int:
        """What Medplum answers a user who renames a patient."""
        system = self.environment.migration.naming.system("patient")
        [found] = self.user.search_all("Patient", [("identifier", f"{system}|{key}")])
        renamed = {**found, "name": [{"family": family}]}
        entry = {"resource": renamed, "request": {"method": "PUT", "url": f"Patient/{found['id']}"}}
        return self.user.batch([entry], 100)[0].status


def gated(environment: Environment, users: Users) -> Environment:
    """The environment with gates of both sides, all open; the units' users have a policy each."""
    organizations = {one["name"]: one["id"] for one in users.admin.search_all("Organization", [])}
    policies, probes = [], {}
    for unit, name in (("north", "North"), ("south", "South")):
        criteria = f"Patient?organization=Organization/{organizations[name]}"
        policy = users.policy([OPEN | {"criteria": criteria}, {"resourceType": "Organization", "readonly": True}])
        probes[unit] = (users.member(policy["id"]), SECRET)
        creates = {
            "resourceType": "Patient",
            "managingOrganization": {"reference": f"Organization/{organizations[name]}"},
        }
        policies.append({"policy": policy["id"], "unit": unit, "probe": unit, "creates": creates})
    ungated = {"clinic": "kept by the group", "staff": "kept by the group"}
    rules = {"tables": GATED, "ungated": ungated, "medplum": {"longest_request": 0.2, "policies": policies}}
    gate = GateRules.model_validate(rules)
    migration = replace(environment.migration, gate=gate)
    settings = replace(environment.settings, probes=probes, legacy_writer_url=environment.settings.source_url)
    made = Environment(migration, settings)
    install(made.capture, gate_of(made.capture, migration.plan.unit_ids, gate.gated()))
    return made


@pytest.fixture
def clinic(wave: SyncedWave) -> Iterator[Clinic]:
    """In step, and open on both sides: nobody has prepared anything yet."""
    environment = wave.environment
    with environment.medplum() as admin:
        users = Users(admin, environment.settings.medplum_base_url)
        made = gated(environment, users)
        rules = made.migration.gate
        assert rules is not None and rules.medplum is not None
        [rule] = rules.medplum.of_unit("north")
        with users.client(made.settings.probes["north"][0]) as user:
            yield Clinic(made, users, rule.policy, user)
