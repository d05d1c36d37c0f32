"""`heal` removes a twin that is provably ours, and nothing else, however much it looks like one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from embedded_medplum.server import EmbeddedMedplum
from medferry.apply.twins import Kept
from medferry.cli.main import app
from medferry.errors import LeaseHeld, LeaseLost
from medferry.manifest import leases, sent_batches
from medferry.manifest.checks import CheckStatus
from medferry.manifest.crosswalk import CrosswalkEntry, find_targets
from medferry.manifest.runs import slices_of
from medferry.manifest.sent_batches import SentEntry
from medferry.manifest.tables import attempt, target
from medferry.medplum.client import MedplumClient
from medferry.runtime.continuing import OtherSystem
from medferry.runtime.environment import Environment
from medferry.runtime.systems import accept_systems
from medferry.verification.identity import TWICE
from medferry.verification.run import verify_run
from medferry.workflows import heal as workflow
from medferry.workflows.heal import Finding, heal
from tests.tiny_platform import MIGRATION, variables
from tests.workflows.test_migrate import migrate

Json = dict[str, Any]


class Medplum:
    """The embedded server as any other client sees it, with the names that the crosswalk knows."""

    def __init__(self, tiny: Environment, server: EmbeddedMedplum) -> None:
        self.tiny, self.server = tiny, server
        form = {"grant_type": "client_credentials", "client_id": server.client_id}
        with httpx.Client(base_url=server.base_url) as http:
            answer = http.post("oauth2/token", data=form | {"client_secret": server.client_secret})
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        self.http = httpx.Client(base_url=f"{server.base_url}fhir/R4/", headers=headers)

    def known(self, key: str = "1", slot: str = "patient") -> CrosswalkEntry:
        name = (self.tiny.migration.naming.system(slot), key)
        with self.tiny.manifest.begin() as connection:
            return find_targets(connection, "tiny", [name])[name]

    def read(self, place: str) -> Json:
        answer: Json = self.http.get(place).raise_for_status().json()
        return answer

    def create(self, resource: Json) -> Json:
        body = {name: value for name, value in resource.items() if name != "id"}
        answer: Json = self.http.post(resource["resourceType"], json=body).raise_for_status().json()
        return answer

    def twin(self, key: str = "1", slot: str = "patient", **changes: object) -> str:
        """Plant another resource with the name of the one that the crosswalk knows; returns its place."""
        known = self.known(key, slot)
        made = self.create(self.read(f"{known.resource_type}/{known.medplum_id}") | changes)
        return f"{made['resourceType']}/{made['id']}"

    def stands(self, place: str) -> bool:
        return self.http.get(place).status_code == 200


@pytest.fixture
def there(tiny: Environment, medplum: EmbeddedMedplum) -> Medplum:
    """The tiny platform, migrated."""
    migrate(tiny, "first")
    return Medplum(tiny, medplum)


def healed(tiny: Environment, apply: bool = True) -> dict[str, Kept | None]:
    """Place of each twin → why it was kept."""
    return {finding.twin.place: finding.reason.why if finding.reason else None for finding in told(tiny, apply)}


def told(tiny: Environment, apply: bool = True) -> list[Finding]:
    return list(heal(tiny, "heal.1", apply))


def attempts(tiny: Environment) -> list[tuple[object, ...]]:
    with tiny.manifest.begin() as connection:
        columns = (attempt.c.action, attempt.c.value, attempt.c.status, attempt.c.reason)
        statement = sa.select(*columns).where(attempt.c.run_id == "heal.1").order_by(attempt.c.id)
        return [tuple(row) for row in connection.execute(statement)]


def twice(tiny: Environment) -> set[CheckStatus]:
    return {result.status for result in verify_run(tiny, "first", force=True) if result.name == TWICE}


def test_without_twins_there_is_nothing_to_do(tiny: Environment, there: Medplum) -> None:
    assert told(tiny) == []


def test_a_twin_is_shown_and_removed_only_when_asked_for(tiny: Environment, there: Medplum) -> None:
    twins = [there.twin("1"), there.twin("1"), there.twin("2", "clinic"), there.twin("3", "weight")]
    assert CheckStatus.DIFFERENT in twice(tiny)
    assert healed(tiny, apply=False) == dict.fromkeys(twins)
    assert all(there.stands(twin) for twin in twins)
    assert attempts(tiny) == []
    assert healed(tiny) == dict.fromkeys(twins)
    assert not any(there.stands(twin) for twin in twins)
    assert there.stands(f"Patient/{there.known('1').medplum_id}")
    assert ("heal", "1", 0, f"DELETE {twins[0]}") in attempts(tiny)
    assert ("heal", "1", 200, f"DELETE {twins[0]}") in attempts(tiny)
    assert CheckStatus.DIFFERENT not in twice(tiny)
    assert told(tiny) == []
    with tiny.manifest.begin() as connection:
        assert not leases.alive(connection, "heal.1")


def other_leaf(there: Medplum) -> str:
    return there.twin(gender="other")


def referred_to(there: Medplum) -> str:
    twin = there.twin()
    known = there.known("3", "weight")
    observation = there.read(f"Observation/{known.medplum_id}") | {"subject": {"reference": twin}}
    there.create({name: value for name, value in observation.items() if name != "identifier"})
    return twin


def referred_to_by_a_type_of_others(there: Medplum) -> str:
    twin = there.twin()
    there.create({"resourceType": "Basic", "code": {"text": "note"}, "subject": {"reference": twin}})
    return twin


def referred_to_in_one_version(there: Medplum) -> str:
    twin = there.twin()
    version = there.read(twin)["meta"]["versionId"]
    note = {"resourceType": "Basic", "code": {"text": "note"}}
    there.create(note | {"subject": {"reference": f"{twin}/_history/{version}"}})
    return twin


def referred_to_by_its_address(there: Medplum) -> str:
    twin = there.twin()
    address = f"{there.server.base_url}fhir/R4/{twin}"
    there.create({"resourceType": "Basic", "code": {"text": "note"}, "subject": {"reference": address}})
    return twin


def referred_to_in_an_extension(there: Medplum) -> str:
    twin = there.twin()
    extension = [{"url": "https://x.example/about", "valueReference": {"reference": twin}}]
    there.create({"resourceType": "Location", "name": "A place", "extension": extension})
    return twin


def written_by_another(there: Medplum) -> str:
    twin = there.twin()
    there.server.inject({"kind": "other-author", "path": f"{twin}/_history", "every": 1})
    return twin


def original_written_by_another(there: Medplum) -> str:
    path = f"Patient/{there.known().medplum_id}/_history"
    there.server.inject({"kind": "other-author", "path": path, "every": 1})
    return there.twin()


def original_changed(there: Medplum) -> str:
    twin = there.twin()
    place = f"Patient/{there.known().medplum_id}"
    resource = there.read(place)
    there.http.put(place, json=resource | {"gender": "other"}).raise_for_status()
    there.http.put(place, json=resource).raise_for_status()
    return twin


def original_missing(there: Medplum) -> str:
    twin = there.twin()
    there.http.delete(f"Patient/{there.known().medplum_id}").raise_for_status()
    return twin


def open_note(there: Medplum) -> str:
    tiny = there.tiny
    entry = SentEntry(tiny.migration.naming.system("patient"), "1", "create", "Patient", "hash")
    with tiny.manifest.begin() as connection:
        patients = next(part for part in slices_of(connection, "first") if part.entity == "patient")
        sent_batches.note(connection, "tiny", patients, [entry])
    return there.twin()


def known_elsewhere(there: Medplum) -> str:
    """As if another migration had this very resource."""
    twin = there.twin()
    with there.tiny.manifest.begin() as connection:
        row = connection.execute(sa.select(target).where(target.c.entity == "patient").limit(1)).one()
        values = row._asdict() | {"migration": "other", "medplum_id": twin.removeprefix("Patient/")}
        connection.execute(sa.insert(target).values(values))
    return twin


@pytest.mark.parametrize(
    ("look_alike", "reason"),
    [
        (other_leaf, Kept.OTHER_CONTENT),
        (referred_to, Kept.REFERRED_TO),
        (referred_to_by_a_type_of_others, Kept.REFERRED_TO),
        (referred_to_in_one_version, Kept.REFERRED_TO),
        (referred_to_by_its_address, Kept.REFERRED_TO),
        (referred_to_in_an_extension, Kept.REFERRED_TO),
        (written_by_another, Kept.OTHER_AUTHOR),
        (original_written_by_another, Kept.OTHER_AUTHOR),
        (original_changed, Kept.ORIGINAL_CHANGED),
        (original_missing, Kept.ORIGINAL_MISSING),
        (open_note, Kept.SETTLING),
        (known_elsewhere, Kept.KNOWN_ELSEWHERE),
    ],
)
def test_what_only_looks_like_one_stays(
    tiny: Environment, there: Medplum, look_alike: Callable[[Medplum], str], reason: Kept
) -> None:
    twin = look_alike(there)
    sound = there.twin("2", "clinic")
    assert healed(tiny, apply=False) == {twin: reason, sound: None}
    assert healed(tiny) == {twin: reason, sound: None}
    assert there.stands(twin)
    assert not there.stands(sound)


def change(there: Medplum, place: str) -> None:
    there.http.put(place, json=there.read(place) | {"language": "de"}).raise_for_status()


@pytest.mark.parametrize("which", ["twin", "original"])
def test_what_changed_since_it_was_looked_at_stays(
    tiny: Environment, there: Medplum, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    twin = there.twin()
    place = twin if which == "twin" else f"Patient/{there.known().medplum_id}"
    real = workflow._judged

    def then_changed(*arguments: Any) -> list[Finding]:
        findings = real(*arguments)
        change(there, place)
        return findings

    monkeypatch.setattr(workflow, "_judged", then_changed)
    assert healed(tiny) == {twin: Kept.CHANGED_SINCE}
    assert there.stands(twin)
    assert attempts(tiny) == []


def test_a_change_in_the_last_moment_is_found_by_the_condition(
    tiny: Environment, there: Medplum, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = there.twin()
    real = MedplumClient.batch

    def after_a_change(self: MedplumClient, *arguments: Any, **named: Any) -> Any:
        change(there, twin)
        return real(self, *arguments, **named)

    monkeypatch.setattr(MedplumClient, "batch", after_a_change)
    assert healed(tiny) == {twin: Kept.CHANGED_SINCE}
    assert there.stands(twin)
    assert [status for *_, status, _ in attempts(tiny)] == [0, 412]


def test_an_answer_that_never_comes_is_told(tiny: Environment, there: Medplum, medplum: EmbeddedMedplum) -> None:
    twin = there.twin()
    medplum.inject({"kind": "cut-after", "method": "POST", "path": "/fhir/R4/$", "entries": "writes", "next": 1})
    assert healed(tiny) == {twin: Kept.NO_ANSWER}
    assert [status for *_, status, _ in attempts(tiny)] == [0]
    assert told(tiny) == []


def test_a_search_that_fails_or_is_refused_keeps_it(
    tiny: Environment, there: Medplum, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = there.twin()
    monkeypatch.setattr("medferry.apply.mentions.kept_types", lambda: ("Observation", "Binary"))
    [finding] = told(tiny)
    assert str(finding.reason) == f"{Kept.REFERENCES_UNCHECKED} (Binary)"
    assert there.stands(twin)


@pytest.mark.parametrize("profile", ["", "ClientApplication/another"])
def test_who_does_not_know_itself_removes_nothing(
    tiny: Environment, there: Medplum, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    twin = there.twin()
    monkeypatch.setattr(MedplumClient, "profile", lambda _: profile)
    assert healed(tiny) == {twin: Kept.OTHER_AUTHOR if profile else Kept.AUTHOR_UNKNOWN}
    assert there.stands(twin)


def test_it_is_refused_while_a_run_is_at_work(tiny: Environment, there: Medplum) -> None:
    twin = there.twin()
    with tiny.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "at-work", ["north/weight"])
    with pytest.raises(LeaseHeld, match="at-work"):
        told(tiny)
    assert healed(tiny, apply=False) == {twin: None}
    assert there.stands(twin)


def test_no_run_begins_while_it_is_at_work(tiny: Environment, there: Medplum, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = there.twin()
    real = workflow._judged

    def while_judging(*arguments: Any) -> list[Finding]:
        with pytest.raises(LeaseHeld, match=r"heal\.1"):
            migrate(tiny, "second")
        return real(*arguments)

    monkeypatch.setattr(workflow, "_judged", while_judging)
    assert healed(tiny) == {twin: None}


def test_who_has_lost_the_hold_removes_no_more_and_has_told_what_it_did(tiny: Environment, there: Medplum) -> None:
    twins = [there.twin("1"), there.twin("2")]
    healing = heal(tiny, "heal.1", apply=True)
    first = next(healing)
    assert first.reason is None
    with tiny.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "another", ["north/patient"], take_over=True)
    with pytest.raises(LeaseLost):
        next(healing)
    assert [twin for twin in twins if not there.stands(twin)] == [first.twin.place]


def test_another_medplum_is_refused(tiny: Environment, there: Medplum, medplum: EmbeddedMedplum) -> None:
    accept_systems(tiny)
    medplum.restart()  # without a data file, another project
    with pytest.raises(OtherSystem):
        told(tiny)


def test_the_command_shows_then_removes(tiny: Environment, there: Medplum, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = there.twin()
    family = there.read(twin)["name"][0]["family"]
    for name, value in variables(tiny.settings).items():
        monkeypatch.setenv(name, value)
    command = ["heal", "-m", str(MIGRATION)]
    runner = CliRunner(env={"COLUMNS": "250"})
    shown = runner.invoke(app, command)
    assert (shown.exit_code, there.stands(twin)) == (0, True)
    assert "1 would be removed, 0 kept. Nothing was changed" in shown.output
    assert family not in shown.output
    removed = runner.invoke(app, [*command, "--apply"])
    assert (removed.exit_code, there.stands(twin)) == (0, False)
    assert "1 removed, 0 kept" in removed.output
    assert "No twins" in runner.invoke(app, command).output
    other_leaf(there)
    assert runner.invoke(app, [*command, "--apply"]).exit_code == 1
