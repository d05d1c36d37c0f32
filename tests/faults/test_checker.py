"""The checker finds each kind of fault, planted in Medplum, in the manifest or in a log."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import checker
from tests.faults.checker import CANARY, count_all
from tests.faults.simulator import World


class Planter:
    """Harms a finished migration."""

    def __init__(self, world: World) -> None:
        self.world, self.http = world, checker._client(world.scene())
        self.patient = self._one("patient", "Patient", "2")

    def _one(self, entity: str, resource_type: str, key: str) -> dict[str, Any]:
        query = {"identifier": f"{self.world.base}/{entity}|{key}"}
        return self.http.get(f"fhir/R4/{resource_type}", params=query).json()["entry"][0]["resource"]

    def post(self, resource: dict[str, Any]) -> None:
        self.http.post(f"fhir/R4/{resource['resourceType']}", json=resource).raise_for_status()

    def put(self, resource: dict[str, Any]) -> None:
        self.http.put(f"fhir/R4/{resource['resourceType']}/{resource['id']}", json=resource).raise_for_status()

    def sql(self, statement: str) -> None:
        with sqlite3.connect(self.world.folder / "manifest.db") as manifest:
            assert manifest.execute(statement).rowcount > 0
        manifest.close()

    # -- one method a fault ------------------------------------------------------------------------

    def missing(self) -> None:
        weight = self._one("weight", "Observation", "5")
        self.http.delete(f"fhir/R4/Observation/{weight['id']}").raise_for_status()

    def dangling(self) -> None:
        self.http.delete(f"fhir/R4/Patient/{self.patient['id']}").raise_for_status()

    def extra_under_the_tag(self) -> None:
        self.post({**self.patient, "identifier": [{"system": "urn:other", "value": "2"}]})

    def extra_under_the_identifiers(self) -> None:
        self.post({**self.patient, "identifier": [{"system": f"{self.world.base}/patient", "value": "77"}], "meta": {}})

    def duplicate(self) -> None:
        self.post(self.patient)

    def wrong_field(self) -> None:
        self.put({**self.patient, "birthDate": "1980-12-30"})

    def field_too_much(self) -> None:
        self.put({**self.patient, "active": True})

    def lost_tag(self) -> None:
        self.put({**self.patient, "meta": {"source": self.patient["meta"]["source"]}})

    def wrong_reference(self) -> None:
        other = self._one("clinic", "Organization", "2")
        self.put({**self.patient, "managingOrganization": {"reference": f"Organization/{other['id']}"}})

    def second_version(self) -> None:
        self.put({**self.patient, "active": True})
        self.put(self.patient)

    def unit_lost(self) -> None:
        self.sql("DELETE FROM source_unit WHERE entity = 'weight' AND key = '5'")

    def unit_invented(self) -> None:
        self.sql("UPDATE source_unit SET key = '1005' WHERE entity = 'weight' AND key = '5'")

    def unit_pending(self) -> None:
        self.sql("UPDATE source_unit SET disposition = 'pending' WHERE entity = 'patient' AND key = '1'")

    def wrong_reason(self) -> None:
        self.sql("UPDATE source_unit SET reason = 'mapping-error' WHERE entity = 'patient' AND key = '4'")

    def crosswalk_lost(self) -> None:
        self.sql("DELETE FROM target WHERE entity = 'clinic' AND value = '1'")

    def crosswalk_wrong(self) -> None:
        self.sql("UPDATE target SET medplum_id = 'another' WHERE entity = 'clinic' AND value = '1'")

    def run_unfinished(self) -> None:
        self.sql("UPDATE run SET status = 'running'")

    def lease_left(self) -> None:
        self.sql("INSERT INTO lease VALUES ('tiny', 'north/patient', 'r', '2099-01-01T00:00:00.000Z')")

    def patient_data_in_a_log(self) -> None:
        (self.world.folder / "0.log").open("a").write(f"could not map {CANARY}Ada\n")

    def patient_data_in_the_manifest(self) -> None:
        self.sql(f"UPDATE source_unit SET place = '{CANARY}Ada' WHERE entity = 'patient' AND key = '4'")


FOUND_AS = {
    Planter.missing: "missing: ",
    Planter.dangling: "dangling: ",
    Planter.extra_under_the_tag: "extra: ",
    Planter.extra_under_the_identifiers: "extra: ",
    Planter.duplicate: "duplicate: ",
    Planter.wrong_field: "wrong field: birthDate",
    Planter.field_too_much: "wrong field: active",
    Planter.lost_tag: "wrong field: meta",
    Planter.wrong_reference: "wrong field: managingOrganization",
    Planter.second_version: "versions: ",
    Planter.unit_lost: "unit without a line: ",
    Planter.unit_invented: "unit that the source has not: ",
    Planter.unit_pending: "disposition: ",
    Planter.wrong_reason: "disposition: ",
    Planter.crosswalk_lost: "crosswalk: ",
    Planter.crosswalk_wrong: "crosswalk: ",
    Planter.run_unfinished: "run: its status",
    Planter.lease_left: "run: 1 leases",
    Planter.patient_data_in_a_log: "patient data: in 0.log",
    Planter.patient_data_in_the_manifest: "patient data: in manifest.db",
}


@pytest.mark.parametrize("plant", FOUND_AS, ids=lambda plant: plant.__name__)
def test_the_checker_finds(plant: Callable[[Planter], None], world: World) -> None:
    assert world.do().status == 0
    assert world.problems() == []
    plant(Planter(world))
    assert [line for line in world.problems() if line.startswith(FOUND_AS[plant])]


def test_what_is_written_over_a_users_edit_is_found(world: World) -> None:
    assert world.do().status == 0
    name = ("Patient", f"{world.base}/patient", "2")
    assert checker.edit(world.scene(), ("Patient", f"{world.base}/patient", "77"), active=True) is None
    made = checker.edit(world.scene(), name, active=True)
    assert made and checker.written_over(world.scene(), [made]) == []
    planter = Planter(world)
    planter.put(planter.patient | {"active": False})
    assert checker.written_over(world.scene(), [made]) == [f"written over: {name}"]
    planter.http.delete(f"fhir/R4/Patient/{made.medplum_id}").raise_for_status()
    assert checker.written_over(world.scene(), [made]) == [f"written over: {name}"]


def test_the_count_of_the_whole_server_shows_what_has_neither_tag_nor_identifier(world: World) -> None:
    assert world.do().status == 0
    before = count_all(world.scene())
    Planter(world).post({"resourceType": "Patient", "active": True})
    assert world.problems() == []
    assert count_all(world.scene()) == {**before, "Patient": before["Patient"] + 1}
