"""A manifest claims its identifier base in Medplum: another one that writes under the same base is refused."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest
import sqlalchemy as sa

from medferry.manifest import homes
from medferry.manifest.database import create_manifest
from medferry.manifest.homes import Unclaimed
from medferry.manifest.tables_of_place import home
from medferry.mapping.identity import CLAIM_SYSTEM, MANIFEST_SYSTEM, MARK_SYSTEM
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import RequestFailed
from medferry.medplum.requests import Requests
from medferry.report.reconciliation import reconcile
from medferry.runtime import claim as claim_of_base
from medferry.runtime.claim import hold_claim
from medferry.runtime.continuing import OlderManifest, OtherManifest
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import accept_systems, check_systems, look_at_systems
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_session
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from medferry.verification.run import verify_subject
from medferry.workflows.heal import heal
from medferry.workflows.leftovers import find_leftovers
from tests.copied_manifest import copied_manifest
from tests.lagging_proxy import LaggingProxy, Resource
from tests.workflows.test_migrate import migrate


@pytest.fixture
def other(tiny: Environment, tmp_path: Path) -> Environment:
    """A second manifest, with a staging area of its own, beside the first."""
    settings = replace(
        tiny.settings, manifest_url=f"sqlite:///{tmp_path}/other.db", staging_url=f"{tmp_path}/other staging"
    )
    for one in (tiny.settings, settings):
        create_manifest(one.manifest_url)
    return Environment(tiny.migration, settings)


def at(environment: Environment, **settings: str | float) -> Environment:
    return Environment(environment.migration, replace(environment.settings, **settings))  # type: ignore[arg-type]


def hold(environment: Environment) -> None:
    with environment.medplum() as client:
        hold_claim(environment, client)


def claims(environment: Environment) -> list[Resource]:
    with environment.medplum() as client:
        return list(client.search_all("Basic", []))


def holders(environment: Environment) -> list[str]:
    return [
        one["value"] for claim in claims(environment) for one in claim["identifier"] if one["system"] == MANIFEST_SYSTEM
    ]


def own_id(environment: Environment) -> str:
    with environment.manifest.begin() as connection:
        return homes.manifest_id(connection)


def kept(environment: Environment) -> str:
    with environment.manifest.begin() as connection:
        return homes.claim_of(connection, environment.migration.name, environment.migration.naming.base)


@pytest.mark.parametrize("turned", [False, True], ids=["the first", "the second"])
def test_the_manifest_that_comes_first_has_the_base(tiny: Environment, other: Environment, turned: bool) -> None:
    first, second = (other, tiny) if turned else (tiny, other)
    migrate(first, "first", units=["north"])
    [claim] = claims(tiny)
    assert "tag" not in claim["meta"] and claim["id"] == kept(first)
    named = {one["system"]: one["value"] for one in claim["identifier"]}
    assert named.pop(MARK_SYSTEM)
    assert named == {CLAIM_SYSTEM: tiny.migration.naming.base, MANIFEST_SYSTEM: own_id(first)}
    told = rf"manifest {own_id(first)} \(migration tiny of Medferry, 20.*writes under .*{own_id(second)}"
    with pytest.raises(OtherManifest, match=told):
        migrate(second, "second", units=["south"])  # before anything is prepared
    prepare_run(second, "prepared", "run", scope_of(tiny.migration, None, None), RunOptions())
    with second.manifest.begin() as connection:
        run = reconcile(connection, second.migration, "prepared").run
    with pytest.raises(OtherManifest, match=told), load_session(second, run, RunOptions()):
        pytest.fail("it may not write")
    with pytest.raises(OtherManifest, match=told):
        next(heal(second, "h", apply=True))
    assert holders(tiny) == [own_id(first)]
    assert migrate(first, "again", units=["north"])["created"] == 0


def test_the_claim_is_taken_over_by_name(
    tiny: Environment, other: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    hold(tiny)
    problems = {state.name: state.problem for state in look_at_systems(other)}
    assert problems["identifiers"].startswith(f"claimed by the manifest {own_id(tiny)} (migration tiny of Medferry, 20")
    accept_systems(other)
    assert f"was claimed by the manifest {own_id(tiny)}" in caplog.text
    assert holders(tiny) == [own_id(other)]
    assert {state.problem for state in look_at_systems(other)} == {""}
    hold(other)
    with pytest.raises(OtherManifest, match=own_id(other)):
        hold(tiny)
    accept_systems(tiny)
    hold(tiny)
    assert holders(tiny) == [own_id(tiny)] and len(claims(tiny)) == 1


@pytest.mark.parametrize("manifests", [2, 1])
def test_of_two_at_the_same_moment_one_has_the_base(tiny: Environment, other: Environment, manifests: int) -> None:
    barrier, refused = threading.Barrier(2), list[str]()
    pair = [tiny, other if manifests == 2 else at(tiny)]
    for environment in pair:
        own_id(environment)

    def claim(environment: Environment) -> None:
        with environment.medplum() as client:
            client.project()  # has its token
            barrier.wait()
            try:
                hold_claim(environment, client)
            except OtherManifest:
                refused.append(own_id(environment))

    threads = [threading.Thread(target=claim, args=[environment]) for environment in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims(tiny)) == 1
    assert sorted([*holders(tiny), *refused]) == sorted({own_id(environment) for environment in pair})


@pytest.fixture
def policy(tiny: Environment) -> Iterator[LaggingProxy]:
    """A proxy that lets no Basic be created while `closed`, and hides those that are there when `hidden` says so."""

    class Policy(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if proxy.hidden == ("closed",) and request.url.path.endswith("/Basic"):
                return httpx.Response(403, content=b'{"resourceType":"OperationOutcome"}')
            return super().handle_request(request)

    with LaggingProxy(tiny.settings.medplum_base_url, hidden=("closed",)) as proxy:
        proxy.client = httpx.Client(timeout=60, transport=Policy())
        yield proxy


def test_a_client_that_may_not_is_warned_once(
    tiny: Environment, policy: LaggingProxy, caplog: pytest.LogCaptureFixture
) -> None:
    behind = at(tiny, medplum_base_url=policy.base_url)
    caplog.set_level(logging.WARNING, "medferry.runtime.claim")
    migrate(behind, "first")
    migrate(behind, "second")
    warnings = [record.getMessage() for record in caplog.records if record.name == "medferry.runtime.claim"]
    assert len(warnings) == 1 and "may not create a Basic" in warnings[0] and "AccessPolicy" in warnings[0]
    with tiny.manifest.begin() as connection:
        report = reconcile(connection, tiny.migration, "second")
    assert report.unclaimed == report.as_json()["unclaimed"] == warnings[0]
    assert claims(tiny) == [] and kept(tiny) == Unclaimed.REFUSED and known_marks(tiny) == 0
    policy.hidden = ()
    hold(behind)  # it may now
    assert holders(tiny) == [own_id(tiny)]
    with tiny.manifest.begin() as connection:
        assert reconcile(connection, tiny.migration, "second").unclaimed == ""


def test_who_may_not_claim_is_refused_by_a_claim_that_it_sees(
    tiny: Environment, other: Environment, policy: LaggingProxy
) -> None:
    hold(tiny)
    behind = at(other, medplum_base_url=policy.base_url)
    with pytest.raises(OtherManifest, match=own_id(tiny)):
        hold(behind)
    hold(at(tiny, medplum_base_url=policy.base_url))


def test_a_claim_that_its_client_cannot_read_is_made_once(tiny: Environment, other: Environment) -> None:
    with LaggingProxy(tiny.settings.medplum_base_url, hidden=("Basic",)) as proxy:
        proxy.answer = lambda path, asked, answered: (  # type: ignore[method-assign]
            answered if path.endswith("/Basic") else LaggingProxy.answer(proxy, path, asked, answered)
        )
        behind = at(tiny, medplum_base_url=proxy.base_url, settle_seconds=0.1)
        hold(behind)
        hold(behind)
    assert kept(tiny) == Unclaimed.HIDDEN and len(claims(tiny)) == 1
    accept_systems(tiny)
    hold(tiny)
    assert kept(tiny) == claims(tiny)[0]["id"] and len(claims(tiny)) == 1


def test_searches_that_lag_hide_no_claim(tiny: Environment, other: Environment) -> None:
    """Medplum itself says what is there when a claim is made; and what was claimed is read until it shows."""
    hold(tiny)
    with LaggingProxy(tiny.settings.medplum_base_url, lag=3600, in_batches=True) as proxy:
        behind = at(other, medplum_base_url=proxy.base_url)
        with pytest.raises(OtherManifest, match=own_id(tiny)):
            hold(behind)
        forgetful = at(tiny, medplum_base_url=proxy.base_url, settle_seconds=0.1)
        hold(forgetful)  # its claim is not read, and not made again
    assert len(claims(tiny)) == 1


def test_who_sees_it_late_waits(tiny: Environment, other: Environment) -> None:
    with LaggingProxy(tiny.settings.medplum_base_url, lag=0.3, in_batches=True) as proxy:
        hold(at(tiny, medplum_base_url=proxy.base_url, settle_seconds=30))
    assert kept(tiny) == claims(tiny)[0]["id"]


def test_what_only_looks_claims_nothing(tiny: Environment, other: Environment) -> None:
    migrate(tiny, "dry", dry_run=True)
    check_systems(tiny, dry=False)
    look_at_systems(tiny)
    list(heal(tiny, "h", apply=False))
    assert claims(tiny) == [] and kept(tiny) == ""
    migrate(tiny, "first")
    migrate(other, "dry", dry_run=True)  # reads, and writes nothing: whose the base is does not matter
    accept_systems(other)
    verify_subject(tiny)  # it still knows what it loaded
    assert holders(tiny) == [own_id(other)]


def test_a_claim_that_is_gone_is_made_again(tiny: Environment, other: Environment) -> None:
    """Medplum was restored from a backup of before it, or somebody has deleted it."""
    hold(tiny)
    [claim] = claims(tiny)
    with tiny.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Basic/{claim['id']}"}}], 100)
    hold(tiny)
    assert [one["id"] for one in claims(tiny)] == [kept(tiny)] != [claim["id"]]


def _post(environment: Environment, resource: Resource) -> None:
    entry = {"resource": resource, "request": {"method": "POST", "url": "Basic"}}
    with environment.medplum() as client:
        assert client.batch([entry], 100)[0].status == 201


def test_several_claims_are_refused_and_made_one(tiny: Environment, other: Environment) -> None:
    """No server that decides one conditional create after the other has them; a copy made by hand may."""
    hold(tiny)
    [claim] = claims(tiny)
    foreign = {**claim, "identifier": [claim["identifier"][0], {"system": MANIFEST_SYSTEM, "value": "m2"}]}
    _post(tiny, foreign)
    with tiny.manifest.begin() as connection:
        homes.forget_claims(connection, "tiny")
    for environment in (tiny, other):
        with pytest.raises(OtherManifest, match="manifest m2|manifest " + own_id(tiny)):
            hold(environment)
    accept_systems(tiny)
    hold(tiny)
    assert holders(tiny) == [own_id(tiny)]
    _post(tiny, foreign)
    accept_systems(other)
    hold(other)
    assert holders(tiny) == [own_id(other)]


def test_a_copy_of_the_own_claim_is_no_other(tiny: Environment, other: Environment) -> None:
    hold(tiny)
    _post(tiny, claims(tiny)[0])
    with tiny.manifest.begin() as connection:
        homes.forget_claims(connection, "tiny")
    hold(tiny)
    assert kept(tiny) in {one["id"] for one in claims(tiny)}


def test_what_cannot_be_taken_over_accepts_nothing(
    tiny: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(tiny)
    batch = Requests._send

    def refused(self: Requests, method: str, path: str, cost: int, **request: object) -> httpx.Response:
        content = request.get("content", b"")
        if b'"PUT"' not in (content if isinstance(content, bytes) else b""):
            return batch(self, method, path, cost, **request)
        outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
        return httpx.Response(
            200, content=orjson.dumps({"entry": [{"response": {"status": "403", "outcome": outcome}}]})
        )

    monkeypatch.setattr(Requests, "_send", refused)
    with pytest.raises(OtherManifest, match=r"did not let this one take it over \(HTTP 403\).*AccessPolicy"):
        accept_systems(other)
    with other.manifest.begin() as connection:
        assert homes.medplums_of(connection, "tiny") == []


def test_two_that_claim_at_once_may_conflict_in_the_server(
    tiny: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    send = Requests._send

    def conflicting(self: Requests, method: str, path: str, cost: int, **request: object) -> httpx.Response:
        if path.endswith("/Basic") and not refused:
            refused.append(path)
            raise RequestFailed("Medplum was busy with the same thing (HTTP 409).")
        return send(self, method, path, cost, **request)

    monkeypatch.setattr(Requests, "_send", conflicting)
    hold(tiny)
    assert refused and holders(tiny) == [own_id(tiny)]


def test_the_claim_is_no_leftover_and_no_twin(tiny: Environment, other: Environment) -> None:
    migrate(tiny, "first")
    assert len(claims(tiny)) == 1
    with tiny.medplum() as client:
        assert list(find_leftovers(tiny, client)) == []
    assert list(heal(tiny, "h", apply=True)) == []
    migrate(tiny, "second")  # and is verified


def marks(environment: Environment) -> list[str]:
    return [
        one["value"] for claim in claims(environment) for one in claim["identifier"] if one["system"] == MARK_SYSTEM
    ]


def known_marks(environment: Environment) -> int:
    with environment.manifest.begin() as connection:
        found = sa.select(sa.func.count()).where(home.c.kind == homes.HomeKind.MARK)
        return int(connection.execute(found).scalar_one())


def test_an_older_copy_of_the_manifest_is_refused_until_a_person_accepts_it(
    tiny: Environment, other: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(tiny, "first")
    older = copied_manifest(tiny, tmp_path / "backup.db")
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.0)
    migrate(tiny, "second")
    for refused in (lambda: hold(older), lambda: check_systems(older, dry=False), lambda: migrate(older, "third")):
        with pytest.raises(OlderManifest, match=f"later copy of this manifest {own_id(tiny)} .*knows nothing"):
            refused()
    with pytest.raises(OlderManifest):
        next(heal(older, "h", apply=True))
    problems = {state.name: state.problem for state in look_at_systems(older)}
    assert problems["identifiers"].startswith("claimed by a later copy of the manifest")
    assert migrate(tiny, "still")["created"] == 0
    accept_systems(older)
    assert {state.problem for state in look_at_systems(older)} == {""}
    assert migrate(older, "restored")["created"] == 0
    with pytest.raises(OlderManifest):
        hold(tiny)


def test_a_search_that_lags_refuses_nobody_by_a_mark_of_before(
    tiny: Environment, other: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(tiny)
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.0)
    older = copied_manifest(tiny, tmp_path / "backup.db")
    hold(tiny)
    with tiny.medplum() as client:
        before = client.search("Basic", [])
    hold(tiny)
    monkeypatch.setattr(MedplumClient, "search", lambda *_: before)
    accept_systems(older)
    hold(older)
    assert {state.problem for state in look_at_systems(older)} == {""}


def test_of_two_copies_the_first_that_writes_goes_on(
    tiny: Environment, other: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(tiny)
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.0)
    copy = copied_manifest(tiny, tmp_path / "copy.db")
    hold(copy)
    with pytest.raises(OlderManifest):
        hold(tiny)
    hold(copy)


def test_a_copy_that_comes_in_between_is_told(
    tiny: Environment, other: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when the claim was read, and is when the mark is set."""
    hold(tiny)
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.0)
    copy, send, marked = copied_manifest(tiny, tmp_path / "copy.db"), MedplumClient.batch, list[str]()

    def between(self: MedplumClient, entries: list[Resource], cost: int) -> list[EntryOutcome]:
        if not marked:
            marked.append("the copy")
            hold(copy)
        return send(self, entries, cost)

    monkeypatch.setattr(MedplumClient, "batch", between)
    with pytest.raises(OlderManifest):
        hold(tiny)
    hold(copy)


def test_two_migrations_of_one_manifest_are_no_copies_of_each_other(
    tiny: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write other entities under one base."""
    plan = tiny.migration.plan.model_copy(update={"name": "sibling"})
    sibling = Environment(replace(tiny.migration, plan=plan), tiny.settings)
    hold(tiny)
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.0)
    for one in (sibling, tiny, sibling, tiny):
        hold(one)
    check_systems(tiny, dry=False)
    assert len(claims(tiny)) == 1


def test_a_clock_that_was_set_back_keeps_no_mark_for_ever(tiny: Environment, other: Environment) -> None:
    hold(tiny)
    before = marks(tiny)
    with tiny.manifest.begin() as connection:
        connection.execute(sa.update(home).where(home.c.kind == "mark").values(since="2999-01-01T00:00:00.000Z"))
    hold(tiny)
    assert marks(tiny) != before


def test_a_load_of_hours_is_marked_and_ends_where_it_was_taken_over(
    tiny: Environment, other: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_HELD_FOR", "_MARKED_FOR"):
        monkeypatch.setattr(claim_of_base, name, 0.0)
    slices = prepare_run(tiny, "long", "run", scope_of(tiny.migration, None, None), RunOptions())
    for slice_ in slices:
        extract_slice(tiny, "long", slice_.id)
        transform_slice(tiny, "long", slice_.id)
    with tiny.manifest.begin() as connection:
        run = reconcile(connection, tiny.migration, "long").run
    with load_session(tiny, run, RunOptions()) as session:
        older = copied_manifest(tiny, tmp_path / "backup.db")
        session.load([slices[0].id])
        with pytest.raises(OlderManifest):
            hold(older)
        accept_systems(older)
        with pytest.raises(OlderManifest):
            session.load([slice_.id for slice_ in slices[1:]])


@pytest.mark.parametrize("arrives", [True, False])
def test_who_dies_at_its_mark_is_not_older_than_itself(
    tiny: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    hold(tiny)
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.0)
    before = marks(tiny)

    def dies(self: MedplumClient, entries: list[Resource], cost: int) -> list[EntryOutcome]:
        if arrives:
            send(self, entries, cost)
        raise RequestFailed("the process is gone")

    send = MedplumClient.batch
    with monkeypatch.context() as dying:
        dying.setattr(MedplumClient, "batch", dies)
        with pytest.raises(RequestFailed):
            hold(tiny)
    assert (marks(tiny) != before) == arrives
    hold(at(tiny))
    assert marks(tiny) != before


def test_marks_are_set_no_more_often_than_they_tell_something(tiny: Environment, other: Environment) -> None:
    for number in range(3):
        migrate(tiny, f"run {number}")
    [claim] = claims(tiny)
    with tiny.medplum() as client:
        assert len(client.history("Basic", claim["id"])) == 1


def test_those_who_mark_at_once_are_no_others(
    tiny: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(tiny)
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.05)
    time.sleep(0.1)
    barrier = threading.Barrier(4)

    def several(environment: Environment) -> None:
        barrier.wait()
        for _ in range(10):
            hold(environment)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(several, at(tiny)) for _ in range(4)]:
            done.result()
    assert len(marks(tiny)) == 1


def test_a_claim_of_before_there_were_marks_gets_one(tiny: Environment, other: Environment) -> None:
    hold(tiny)
    [claim] = claims(tiny)
    named = [one for one in claim["identifier"] if one["system"] != MARK_SYSTEM]
    entry = {"resource": {**claim, "identifier": named}, "request": {"method": "PUT", "url": f"Basic/{claim['id']}"}}
    with tiny.medplum() as client:
        client.batch([entry], 100)
    assert marks(tiny) == []
    hold(tiny)
    assert len(marks(tiny)) == 1


def test_who_may_not_mark_is_warned_and_goes_on(
    tiny: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hold(tiny)
    monkeypatch.setattr(claim_of_base, "_MARKED_FOR", 0.0)
    refused, known = EntryOutcome(status=403), known_marks(tiny)
    monkeypatch.setattr(MedplumClient, "batch", lambda *_: [refused])
    hold(tiny)
    assert known_marks(tiny) == known, "one more at each try for ever"
    assert "could not be marked in Medplum (HTTP 403)" in caplog.text and "AccessPolicy" in caplog.text
