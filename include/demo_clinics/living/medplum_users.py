"""People at an application on Medplum: they read a resource, change it, and write it back if nobody else has meanwhile.

Some of what they change is the mapping's (an address for mail, directions), some of it is Medplum's alone (notes).
They book appointments, too, which the legacy system is to have then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from demo_clinics.living.facts import BASE, Facts, Record, moment, number
from demo_clinics.living.legacy_users import Done, Ward, hour

_TRIES = 5


class NotThere(LookupError):
    """Medplum has no resource of the record yet."""


class Overtaken(RuntimeError):
    """Others were faster, time after time."""


@contextmanager
def user(base_url: str, client_id: str, client_secret: str) -> Iterator[httpx.Client]:
    """A client with a user's token."""
    secret = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    with httpx.Client(base_url=base_url, timeout=30) as client:
        answer = client.post("oauth2/token", data=secret).raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


@dataclass(frozen=True, slots=True)
class Seat:
    """Where somebody works at Medplum."""

    client: httpx.Client
    ward: Ward
    chance: Random

    def change(self, resource_type: str, record: Record, edit: Callable[[dict[str, Any]], None]) -> None:
        """Raises NotThere, Overtaken, httpx.HTTPError."""
        for _ in range(_TRIES):
            resource = self.find(resource_type, record)
            edit(resource)
            answer = self.client.put(
                f"fhir/R4/{resource_type}/{resource['id']}",
                json=resource,
                headers={"If-Match": f'W/"{resource["meta"]["versionId"]}"'},
            )
            if answer.status_code != httpx.codes.PRECONDITION_FAILED:
                answer.raise_for_status()
                return
        raise Overtaken(resource_type)

    def find(self, resource_type: str, record: Record) -> dict[str, Any]:
        """Raises NotThere, httpx.HTTPError."""
        entity, key = record
        query = {"identifier": f"{BASE}/{entity}|{key}"}
        found = self.client.get(f"fhir/R4/{resource_type}", params=query).raise_for_status().json().get("entry")
        if not found:
            raise NotThere(resource_type)
        resource: dict[str, Any] = found[0]["resource"]
        return resource

    def actor(self, resource_type: str, record: Record) -> dict[str, Any]:
        """A reference. Raises NotThere, httpx.HTTPError."""
        return {"reference": f"{resource_type}/{self.find(resource_type, record)['id']}"}

    def somebody(self) -> dict[str, Any]:
        """A reference to a patient that Medplum has by now. Raises NotThere, httpx.HTTPError."""
        for _ in range(_TRIES):
            try:
                return self.actor("Patient", ("patient", self.ward.pick(self.chance, "patient")))
            except NotThere:
                continue
        raise NotThere("Patient")

    def create(self, resource: dict[str, Any]) -> str:
        """Returns the id, once Medplum has said that it has it. Raises httpx.HTTPError."""
        answer = self.client.post(f"fhir/R4/{resource['resourceType']}", json=resource).raise_for_status()
        return str(answer.json()["id"])


Act = Callable[[Seat, str], Done]


def _book(seat: Seat, _: str) -> Done:
    """A new appointment, in a room of the clinic. Its record is told by Medplum's id: it has no key yet."""
    chance, ward = seat.chance, seat.ward
    actors = [
        seat.somebody(),
        seat.actor("Practitioner", ("staff", str(chance.choice(ward.staff)))),
        seat.actor("Location", ("location", str(chance.choice(ward.rooms)))),
    ]
    start, minutes = hour(chance).replace(tzinfo=ZoneInfo(ward.zone)), chance.choice((15, 20, 30))
    said = {"description": f"Booked by phone {ward.serial()}", "patientInstruction": f"Bring it along {ward.serial()}"}
    times = {"start": start.isoformat(), "end": (start + timedelta(minutes=minutes)).isoformat()}
    resource = {
        "resourceType": "Appointment",
        "status": "booked",
        **said,
        **times,
        "minutesDuration": minutes,
        "participant": [{"actor": actor, "status": "accepted"} for actor in actors],
    }
    facts: Facts = {"start": moment(times["start"]), "minutes": number(minutes), "status": "booked"}
    words = {"reason": said["description"], "instruction": said["patientInstruction"]}
    return ("appointment", seat.create(resource)), {**facts, **words}


def _mail(seat: Seat, key: str) -> Done:
    """The mapping's: what the legacy system has, too."""
    value = f"p{key}.{seat.ward.serial()}@mail.example"

    def edit(resource: dict[str, Any]) -> None:
        others = [one for one in resource.get("telecom", ()) if one.get("system") != "email"]
        resource["telecom"] = [*others, {"system": "email", "value": value}]

    return _changed(seat, "Patient", ("patient", key), {"email": value}, edit)


def _contact(seat: Seat, key: str) -> Done:
    value = f"Somebody near {seat.ward.serial()}"

    def edit(resource: dict[str, Any]) -> None:
        resource["contact"] = [{"name": {"text": value}}]

    return _changed(seat, "Patient", ("patient", key), {"contact": value}, edit)


def _reason(seat: Seat, key: str) -> Done:
    return _text(seat, "Appointment", ("appointment", key), "description", "reason", "Asked for by phone")


def _instruction(seat: Seat, key: str) -> Done:
    return _text(seat, "Appointment", ("appointment", key), "patientInstruction", "instruction", "Come early")


def _text(seat: Seat, resource_type: str, record: Record, member: str, fact: str, words: str) -> Done:
    value = f"{words}, {seat.ward.serial()}"
    return _changed(seat, resource_type, record, {fact: value}, lambda resource: resource.update({member: value}))


def _note_on_problem(seat: Seat, key: str) -> Done:
    return _note(seat, "Condition", ("problem", key))


def _note_on_prescription(seat: Seat, key: str) -> Done:
    return _note(seat, "MedicationRequest", ("prescription", key))


def _note(seat: Seat, resource_type: str, record: Record) -> Done:
    value = f"Talked about it, {seat.ward.serial()}"
    edit = {"note": [{"text": value}]}
    return _changed(seat, resource_type, record, {"note": value}, lambda resource: resource.update(edit))


def _directions(seat: Seat, key: str) -> Done:
    """What the doctors at the legacy system change, too: now and then both do."""
    value = f"Take one tablet a day, word {seat.ward.serial()}"

    def edit(resource: dict[str, Any]) -> None:
        resource["dosageInstruction"] = [{"text": value}]

    return _changed(seat, "MedicationRequest", ("prescription", key), {"directions": value}, edit)


def _changed(
    seat: Seat, resource_type: str, record: Record, facts: Facts, edit: Callable[[dict[str, Any]], None]
) -> Done:
    seat.change(resource_type, record, edit)
    return record, facts


OWNED = ("changes a mail address", "changes a reason", "changes directions")
"""Acts on what the mapping owns: these go the way back."""

ACTS: dict[str, tuple[Act, str, int]] = {
    "books": (_book, "", 2),
    "changes a mail address": (_mail, "patient", 2),
    "adds a contact": (_contact, "patient", 2),
    "changes a reason": (_reason, "appointment", 2),
    "instructs the patient": (_instruction, "appointment", 2),
    "notes on a problem": (_note_on_problem, "problem", 2),
    "notes on a prescription": (_note_on_prescription, "prescription", 2),
    "changes directions": (_directions, "prescription", 1),
}
"""Name → the act, the entity that it changes a record of ("" for a birth), how often it is chosen beside the others."""
