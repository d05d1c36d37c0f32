"""What users do in Medplum is found: edits, births and deletions once each, our own writes as echoes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.fhir.canonical import content_hash
from medferry.manifest import sent_batches
from medferry.manifest.crosswalk import Action, ConfirmedWrite, Effect, record_confirmed
from medferry.manifest.feeds import FeedKind, FeedName, begin_feed, find_feed, move_feed
from medferry.manifest.known_lines import lines_behind
from medferry.manifest.sent_batches import SentEntry
from medferry.medplum.changes import Change, ChangePosition, begin, next_page
from medferry.medplum.client import MedplumClient
from medferry.medplum.presence import Absence
from medferry.runtime.environment import Environment
from medferry.sync.reverse import Found, FoundKind, Ours, classify, classify_absent
from medferry.sync.reverse_sweep import WALKED, sweep_page
from tests.lagging_proxy import LaggingProxy

LONG_AGO = "2020-01-01T00:00:00.000Z"
OURS = Ours("tiny", "https://tiny.example/legacy", lambda resource: resource.get("gender") != "other")
Resource = dict[str, Any]


class LateCommits(LaggingProxy):
    """Some resources are stamped, and their transactions have not committed."""

    open_: set[str]

    def shown(self, resource: Resource) -> bool:
        return resource.get("id") not in self.open_


@pytest.fixture
def late(medplum: EmbeddedMedplum) -> Iterator[LateCommits]:
    with LateCommits(medplum.base_url, in_batches=True) as proxy:
        proxy.open_ = set()
        yield proxy


@pytest.fixture
def users(loaded: Environment) -> Iterator[MedplumClient]:
    """The client of those who work in Medplum, of a platform that is loaded."""
    with loaded.medplum() as client:
        yield client


def do(client: MedplumClient, method: str, resource: Resource) -> str:
    """Write a resource as a user would; returns its id."""
    url = resource["resourceType"] if method == "POST" else f"{resource['resourceType']}/{resource['id']}"
    body = {} if method == "DELETE" else {"resource": resource}
    [outcome] = client.batch([{"request": {"method": method, "url": url}, **body}], 100)
    assert outcome.status in (200, 201), outcome
    return outcome.id or resource["id"]


def polled(
    client: MedplumClient, position: ChangePosition, kind: str = "Patient", fields: str = "", size: int = 20
) -> tuple[list[Change], ChangePosition]:
    """All changes behind a position, each page from the text of the position before."""
    changes: list[Change] = []
    while True:
        page = next_page(client, kind, ChangePosition.of(position.text), fields, size)
        changes += page.changes
        position = page.position
        if not page.more:
            return changes, position


def swept(environment: Environment, client: MedplumClient, kind: str = "Patient", size: int = 2) -> list[Found]:
    """What a whole pass finds, each page from the position of the one before."""
    found, position = list[Found](), ""
    while True:
        page = sweep_page(environment.manifest, client, "tiny", kind, position, size)
        found += classify(environment.manifest, client, OURS, kind, page.changed)
        found += classify_absent(environment.manifest, OURS, kind, page.absent)
        position = page.position
        if page.complete:
            return found


def kinds(found: list[Found]) -> Counter[FoundKind]:
    return Counter(one.kind for one in found)


def by_family(client: MedplumClient, family: str) -> Resource:
    [found] = [one for one in client.search_all("Patient", []) if one["name"][0]["family"] == family]
    return found


def test_our_own_writes_are_echoes(loaded: Environment, users: MedplumClient) -> None:
    changes, position = polled(users, begin(LONG_AGO), "Observation")
    assert len(changes) == 30
    found = classify(loaded.manifest, users, OURS, "Observation", changes)
    assert kinds(found) == {FoundKind.ECHO: 30}
    assert polled(users, position, "Observation")[0] == [] and swept(loaded, users, "Observation") == []


def test_each_act_of_a_user_is_found_once(loaded: Environment, users: MedplumClient) -> None:
    _, position = polled(users, begin(LONG_AGO))
    ada, ben = by_family(users, "Ada"), by_family(users, "Ben")
    do(users, "PUT", {**ada, "gender": "unknown"})
    do(users, "PUT", {**ben, "identifier": [], "gender": "unknown"})
    born = do(users, "POST", {"resourceType": "Patient", "name": [{"family": "New"}]})
    do(users, "POST", {"resourceType": "Patient", "gender": "other"})
    twin = do(users, "POST", {"resourceType": "Patient", "identifier": ada["identifier"]})
    changes, position = polled(users, position)
    found = classify(loaded.manifest, users, OURS, "Patient", changes)
    edit, nameless, birth, elsewhere, double = found
    assert [one.kind for one in (edit, nameless)] == [FoundKind.EDIT] * 2
    assert [one.lines[0].value for one in (edit, nameless)] == ["1", "2"]
    assert edit.base == ada and edit.change is not None and edit.change.resource["gender"] == "unknown"
    assert (birth.kind, birth.id, birth.lines) == (FoundKind.BIRTH, born, ())
    assert elsewhere.kind is FoundKind.ELSEWHERE
    assert (double.kind, double.id) == (FoundKind.TWIN, twin)
    assert "unknown" not in repr(found), "no content in a message"
    assert polled(users, position)[0] == []
    assert kinds(swept(loaded, users)) == {FoundKind.EDIT: 2}, "the sweep finds what a poll may miss"


def test_a_deletion_is_found_by_a_sweep_and_told_by_how_medplum_says_it(
    loaded: Environment, users: MedplumClient
) -> None:
    ben = by_family(users, "Ben")
    do(users, "DELETE", ben)
    [found] = swept(loaded, users)
    assert (found.kind, found.id, found.absence) == (FoundKind.DELETE, ben["id"], Absence.DELETED)
    assert [line.value for line in found.lines] == ["2"]
    with loaded.manifest.begin() as connection:
        [line] = [one for one in lines_behind(connection, "tiny", "Patient", None, 9) if one.value == "1"]
        confirmed = {"medplum_id": "00000000-0000-4000-8000-000000000000", "version_id": "v"}
        _record(connection, replace(line, **confirmed))
    absences = {one.absence for one in swept(loaded, users)}
    assert absences == {Absence.DELETED, Absence.NOT_FOUND}


def test_what_is_unseen_and_can_be_read_is_not_deleted(
    loaded: Environment, users: MedplumClient, medplum: EmbeddedMedplum
) -> None:
    medplum.inject({"kind": "no-match", "every": 1, "path": "^Patient"})
    page = sweep_page(loaded.manifest, users, "tiny", "Patient", "")
    assert (page.lines, page.unseen, page.complete) == (3, 3, True)
    assert (list(page.changed), dict(page.absent)) == ([], {})


def test_a_record_that_left_the_crosswalk_meanwhile_is_no_deletion(loaded: Environment, users: MedplumClient) -> None:
    do(users, "DELETE", by_family(users, "Ben"))
    page = sweep_page(loaded.manifest, users, "tiny", "Patient", "")
    [line] = page.absent
    with loaded.manifest.begin() as connection:
        _record(connection, replace(line, medplum_id="another"))
    assert classify_absent(loaded.manifest, OURS, "Patient", page.absent) == []


def _record(connection: Any, line: Any) -> None:
    where = (line.system, line.value, line.entity, line.resource_type, line.medplum_id, line.version_id)
    record_confirmed(
        connection, "tiny", "r", "patient-00000", [ConfirmedWrite(*where, line.content_hash, Effect.UPDATED)]
    )


def test_a_write_of_ours_is_an_echo_before_it_is_recorded(loaded: Environment, users: MedplumClient) -> None:
    _, position = polled(users, begin(LONG_AGO))
    ada = by_family(users, "Ada")
    written = {**ada, "gender": "unknown"}
    new = {"resourceType": "Patient", "identifier": [{"system": f"{OURS.base}/patient", "value": "77"}]}
    with loaded.manifest.begin() as connection:
        for value, resource in (("1", written), ("77", new)):
            sent = SentEntry(f"{OURS.base}/patient", value, Action.UPDATE, "Patient", content_hash(resource))
            sent_batches.note_act(connection, "tiny", "r", "patient", sent)
    do(users, "PUT", written)
    do(users, "POST", new)
    changes, _ = polled(users, position)
    assert kinds(classify(loaded.manifest, users, OURS, "Patient", changes)) == {FoundKind.ECHO: 2}


def test_a_version_that_we_have_written_over_since_is_no_edit(loaded: Environment, users: MedplumClient) -> None:
    _, position = polled(users, begin(LONG_AGO))
    ada = by_family(users, "Ada")
    do(users, "PUT", {**ada, "gender": "unknown"})
    changes, position = polled(users, position)
    ours = {**ada, "gender": "male"}
    do(users, "PUT", ours)
    with loaded.manifest.begin() as connection:
        [line] = [one for one in lines_behind(connection, "tiny", "Patient", None, 9) if one.value == "1"]
        version = users.versions("Patient", [ada["id"]])[ada["id"]]
        _record(connection, replace(line, version_id=version, content_hash=content_hash(ours)))
    assert kinds(classify(loaded.manifest, users, OURS, "Patient", changes)) == {FoundKind.SUPERSEDED: 1}
    changes, _ = polled(users, position)
    assert kinds(classify(loaded.manifest, users, OURS, "Patient", changes)) == {FoundKind.ECHO: 1}


def test_a_birth_that_no_poll_told_is_found_by_a_walk(loaded: Environment, users: MedplumClient) -> None:
    born = do(users, "POST", {"resourceType": "Patient", "name": [{"family": "New"}]})
    changes, _ = polled(users, begin(LONG_AGO), fields=WALKED)
    assert all("name" not in one.resource for one in changes)
    found = classify(loaded.manifest, users, OURS, "Patient", changes)
    assert [one.id for one in found if one.kind is FoundKind.BIRTH] == [born]
    assert kinds(found) == {FoundKind.ECHO: 3, FoundKind.BIRTH: 1}


@pytest.mark.parametrize("overlap", [120_000, 0])
def test_what_commits_late_is_found_by_the_overlap_alone(
    loaded: Environment, users: MedplumClient, late: LateCommits, overlap: int
) -> None:
    seen_late = replace(loaded, settings=replace(loaded.settings, medplum_base_url=late.base_url))
    with seen_late.medplum() as client:
        position = replace(polled(client, begin(LONG_AGO))[1], overlap=overlap)
        slow = do(users, "POST", {"resourceType": "Patient", "name": [{"family": "Slow"}]})
        late.open_.add(slow)
        after = [do(users, "POST", {"resourceType": "Patient", "name": [{"family": f"N{n}"}]}) for n in range(3)]
        first, position = polled(client, position)
        assert [one.id for one in first] == after
        late.open_.clear()
        second, _ = polled(client, position)
    assert [one.id for one in second] == ([slow] if overlap else [])


@pytest.mark.parametrize("seed", range(2))
def test_whatever_users_do_it_is_found(loaded: Environment, users: MedplumClient, late: LateCommits, seed: int) -> None:
    """A seeded storm of writes, late commits and restarts: everything is found by its end, nothing twice."""
    dice = random.Random(seed)
    name = FeedName("tiny", "pilot", "Observation", FeedKind.POLL)
    with loaded.manifest.begin() as connection:
        begin_feed(connection, name, begin(LONG_AGO).text)
    known = {one["id"]: one for one in users.search_all("Observation", [])}
    told, edited, born, deleted = Counter[str](), set[str](), set[str](), set[str]()
    found: list[Found] = []
    seen_late = replace(loaded, settings=replace(loaded.settings, medplum_base_url=late.base_url))

    def page(client: MedplumClient, dies: bool) -> bool:
        with loaded.manifest.begin() as connection:
            at = find_feed(connection, name)
        assert at is not None
        read = next_page(client, "Observation", ChangePosition.of(at.position), size=20)
        classified = classify(loaded.manifest, users, OURS, "Observation", read.changes)
        if dies:
            return True
        with loaded.manifest.begin() as connection:
            move_feed(connection, at, read.position.text, passed=not read.more)
        found.extend(classified)
        told.update(one.version_id for one in read.changes)
        return read.more

    with seen_late.medplum() as client:
        for _ in range(40):
            match dice.choice(["edit", "edit", "create", "remove", "commit", "page", "page", "page"]):
                case "edit":
                    one = dice.choice(sorted(set(known) - deleted))
                    do(users, "PUT", {**known[one], "note": [{"text": str(dice.random())}]})
                    edited.add(one)
                case "create":
                    born.add(made := do(users, "POST", {**next(iter(known.values())), "identifier": []}))
                    late.open_ |= {made} if dice.random() < 0.7 else set()
                case "remove" if dice.random() < 0.3:
                    deleted.add(one := dice.choice(sorted(set(known) - deleted)))
                    do(users, "DELETE", known[one])
                case "commit":
                    late.open_.clear()
                case "page":
                    page(client, dies=dice.random() < 0.3)
        late.open_.clear()
        while page(client, dies=False):
            pass
    assert {one.id for one in found if one.kind is FoundKind.EDIT} >= edited - deleted
    assert {one.id for one in found if one.kind is FoundKind.EDIT} <= edited
    assert {one.id for one in found if one.kind is FoundKind.BIRTH} == born
    assert not told or max(told.values()) == 1
    assert {one.id for one in swept(loaded, users, "Observation", 7) if one.kind is FoundKind.DELETE} == deleted
