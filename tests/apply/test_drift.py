"""What somebody else did in Medplum since the load: nobody's change is overwritten, nothing deleted is created again,
unless the operator says so. The same in both modes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from medferry.apply.batch import BatchSender
from medferry.apply.departure import Noted
from medferry.apply.doubts import Doubts
from medferry.apply.plan import Failed
from medferry.apply.targets import ResolvedResource
from medferry.apply.visibility import Visibility
from medferry.apply.writer import Writer
from medferry.medplum.client import MedplumClient
from medferry.medplum.limiter import ConcurrencyLimiter
from medferry.runtime.environment import Environment
from medferry.runtime.options import LoadMode, RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from tests.lagging_proxy import LaggingProxy

Resource = dict[str, Any]
MODES = pytest.mark.parametrize("mode", list(LoadMode))


class Clinics:
    """The clinics of the tiny platform, loaded again and again, with a user of Medplum in between."""

    def __init__(self, tiny: Environment, mode: LoadMode) -> None:
        self.tiny, self.mode, self.runs = tiny, mode, 0
        self.system = tiny.migration.naming.system("clinic")

    def load(self, overwrite: bool = False) -> dict[str, tuple[str, str, str]]:
        """Source key → disposition, reason, place, by a new run."""
        self.runs += 1
        run_id = f"run{self.runs}"
        options = RunOptions(load_mode=self.mode, overwrite=overwrite, take_over=True, stop_at_share=1.0)
        for part in prepare_run(self.tiny, run_id, "run", scope_of(self.tiny.migration, None, ["clinic"]), options):
            extract_slice(self.tiny, run_id, part.id)
            transform_slice(self.tiny, run_id, part.id)
            load_slice(self.tiny, run_id, part.id)
        query = "SELECT key, disposition, reason, place FROM source_unit WHERE run_id = :run"
        return {key: tuple(rest) for key, *rest in self.rows(query, run=run_id)}  # type: ignore[misc]

    def actions(self) -> dict[str, str]:
        """Source key → what the newest run did."""
        query = "SELECT value, action FROM outcome WHERE run_id = :run"
        return {row.value: row.action for row in self.rows(query, run=f"run{self.runs}")}

    def rows(self, query: str, **values: str) -> list[Any]:
        with self.tiny.manifest.begin() as connection:
            return list(connection.execute(sa.text(query), values))

    def rename_in_legacy(self, key: str) -> None:
        self.in_legacy(f"UPDATE clinic SET name = name || ' of the legacy' WHERE id = {key}")

    def in_legacy(self, sql: str) -> None:
        path = Path(sa.make_url(self.tiny.settings.source_url).database or "")
        with sqlite3.connect(path) as legacy:
            legacy.execute(sql)
        legacy.close()

    def all(self, key: str) -> list[Resource]:
        with self.tiny.medplum() as client:
            return client.search("Organization", [("identifier", f"{self.system}|{key}")]).get("entry", [])

    def only(self, key: str) -> Resource:
        [entry] = self.all(key)
        return entry["resource"]

    def send(self, method: str, path: str, resource: Resource | None = None) -> None:
        """As a user of Medplum: the request alone."""
        entry: Resource = {"request": {"method": method, "url": path}}
        with self.tiny.medplum() as client:
            [outcome] = client.batch([entry | ({"resource": resource} if resource else {})], 100)
        assert outcome.status in (200, 201)

    def change(self, key: str, **members: Any) -> None:
        present = self.only(key)
        self.send("PUT", f"Organization/{present['id']}", unversioned(present) | {"id": present["id"]} | members)

    def delete(self, key: str) -> None:
        self.send("DELETE", f"Organization/{self.only(key)['id']}")


def unversioned(resource: Resource) -> Resource:
    """The resource as somebody would write it."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name in ("source", "tag", "profile")}
    rest = {name: value for name, value in resource.items() if name not in ("id", "meta")}
    return rest | ({"meta": meta} if meta else {})


@pytest.fixture
def clinics(tiny: Environment, mode: LoadMode) -> Clinics:
    loaded = Clinics(tiny, mode)
    assert {disposition for disposition, _, _ in loaded.load().values()} == {"successful"}
    assert set(loaded.actions().values()) == {"created"}
    return loaded


@MODES
def test_a_user_s_change_stays(clinics: Clinics) -> None:
    clinics.change("1", name="Of the user")
    clinics.rename_in_legacy("1")
    clinics.rename_in_legacy("2")
    found = clinics.load()
    present = clinics.only("1")
    assert found["1"] == ("quarantined", "target-changed", f"Organization/{present['id']}")
    assert present["name"] == "Of the user"
    assert found["2"][0] == "successful"
    assert clinics.only("2")["name"].endswith(" of the legacy")
    assert clinics.actions() == {"2": "updated", **{key: "unchanged" for key in found if key not in ("1", "2")}}


@MODES
def test_a_user_s_change_is_written_over_when_asked(clinics: Clinics) -> None:
    before = clinics.only("1")
    clinics.change("1", name="Of the user")
    assert clinics.load(overwrite=True)["1"][0] == "successful"
    after = clinics.only("1")
    assert (after["id"], after["name"]) == (before["id"], before["name"])
    assert clinics.actions()["1"] == "updated"


@MODES
def test_what_was_deleted_stays_deleted(clinics: Clinics) -> None:
    medplum_id = clinics.only("1")["id"]
    clinics.delete("1")
    clinics.rename_in_legacy("1")
    assert clinics.load()["1"] == ("quarantined", "target-deleted", f"Organization/{medplum_id}")
    assert clinics.all("1") == []


@MODES
def test_what_was_deleted_is_created_again_when_asked(clinics: Clinics) -> None:
    clinics.delete("1")
    assert clinics.load(overwrite=True)["1"][0] == "successful"
    assert len(clinics.all("1")) == 1
    assert clinics.actions()["1"] == "created"


@MODES
def test_what_lost_its_identifier_is_written_over_in_its_place_when_asked(clinics: Clinics) -> None:
    """Another client put its own content over ours, identifier and tag too: no search finds it, but it is there."""
    before = clinics.only("1")
    clinics.send(
        "PUT", f"Organization/{before['id']}", {"resourceType": "Organization", "id": before["id"], "name": "X"}
    )
    assert clinics.load()["1"][:2] == ("quarantined", "target-deleted")
    assert clinics.load(overwrite=True)["1"][0] == "successful"
    assert clinics.actions()["1"] == "updated"
    assert unversioned(clinics.only("1")) == unversioned(before) and clinics.only("1")["id"] == before["id"]


class AccessPolicy(LaggingProxy):
    """Shows all but what it is told to hide: searches leave it out, and reading it is answered 404, not 410."""

    hide = ""

    def shown(self, resource: Resource) -> bool:
        return resource.get("id") != self.hide


@MODES
@pytest.mark.parametrize("alone", [False, True])
def test_what_a_policy_hides_is_not_created_again_though_asked(tiny: Environment, mode: LoadMode, alone: bool) -> None:
    """Nor where it is the only one: the load's first look at its slice then says that nothing is there."""
    with AccessPolicy(tiny.settings.medplum_base_url, in_batches=True) as policy:
        behind = replace(tiny.settings, medplum_base_url=policy.base_url)
        clinics = Clinics(Environment(tiny.migration, behind), mode)
        if alone:
            clinics.in_legacy("DELETE FROM clinic WHERE id <> 4")
        clinics.load()
        policy.hide = hidden = clinics.only("4")["id"]
        found = clinics.load(overwrite=True)["4"]
        assert found == ("quarantined", "target-changed", f"Organization/{hidden}: unreadable")
        policy.hide = ""
        assert clinics.only("4")["id"] == hidden
        assert clinics.load(overwrite=True)["4"][0] == "successful" and clinics.actions()["4"] == "unchanged"


@MODES
def test_what_was_changed_and_then_deleted_stays_deleted(clinics: Clinics) -> None:
    clinics.change("1", name="Of the user")
    clinics.delete("1")
    assert clinics.load()["1"][:2] == ("quarantined", "target-deleted")
    assert clinics.all("1") == []


@MODES
def test_a_change_to_equal_content_is_adopted_without_a_write(clinics: Clinics) -> None:
    before = clinics.only("1")
    clinics.change("1", name="Of the user")
    clinics.change("1", name=before["name"])
    changed = clinics.only("1")
    assert changed["meta"]["versionId"] != before["meta"]["versionId"]
    for _ in range(2):
        assert clinics.load()["1"][0] == "successful"
        assert clinics.actions()["1"] == "unchanged"
        assert clinics.only("1")["meta"] == changed["meta"]
    clinics.rename_in_legacy("1")  # from now on it is known in that version: the next change is an update
    assert clinics.load()["1"][0] == "successful"
    assert clinics.actions()["1"] == "updated"


@MODES
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("equal", [False, True])
def test_what_somebody_deleted_and_created_again(clinics: Clinics, equal: bool, overwrite: bool) -> None:
    before = clinics.only("1")
    clinics.delete("1")
    clinics.send("POST", "Organization", unversioned(before) | ({} if equal else {"name": "Of the user"}))
    present = clinics.only("1")
    assert present["id"] != before["id"]
    found, after = clinics.load(overwrite)["1"], clinics.only("1")
    assert after["id"] == present["id"]
    if equal:
        assert (found[0], after, clinics.actions()["1"]) == ("successful", present, "unchanged")
    else:  # it was never ours, whatever is asked
        assert (found, after) == (("quarantined", "target-changed", f"Organization/{present['id']}"), present)


@MODES
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_resource_of_the_identifier_is_for_a_person_whatever_is_asked(
    clinics: Clinics, overwrite: bool
) -> None:
    clinics.send("POST", "Organization", unversioned(clinics.only("1")))
    clinics.rename_in_legacy("1")
    before = clinics.all("1")
    assert clinics.load(overwrite)["1"][:2] == ("quarantined", "ambiguous-target")
    assert len(clinics.all("1")) == len(before) == 2


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """`act` comes between the next look-up and its batch."""
    batch = MedplumClient.batch

    def after_another(self: MedplumClient, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(MedplumClient, "batch", batch)
        act()
        return batch(self, *arguments, **options)

    monkeypatch.setattr(MedplumClient, "batch", after_another)


@pytest.mark.parametrize("equal", [False, True])
def test_in_conditional_mode_another_creator_of_the_key_is_not_doubled(
    tiny: Environment, equal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Clinics(tiny, LoadMode.CONDITIONAL)
    identifier = [{"system": other.system, "value": "4"}]  # the clinic that refers to no other
    content: Resource = {"resourceType": "Organization", "name": "Of the other", "identifier": identifier}
    if equal:
        other.load()
        content = unversioned(other.only("4"))
        for key in ("1", "2", "3", "4"):
            other.delete(key)
        with tiny.manifest.begin() as connection:
            connection.execute(sa.text("DELETE FROM target"))
    meanwhile(monkeypatch, lambda: other.send("POST", "Organization", content))
    found, present = other.load()["4"], other.only("4")
    assert present["name"] == content["name"]
    if equal:
        assert (found[0], other.actions()["4"]) == ("successful", "unchanged")
    else:
        assert found == ("quarantined", "target-changed", f"Organization/{present['id']}")


@MODES
def test_what_is_deleted_before_it_is_read_back_stays_deleted(
    tiny: Environment, mode: LoadMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id that Medplum gave and that is gone is a deletion, not a write that failed."""
    batch = MedplumClient.batch

    def then_deleted(self: MedplumClient, entries: Any, *rest: Any, **options: Any) -> Any:
        outcomes = batch(self, entries, *rest, **options)
        for entry, outcome in zip(entries, outcomes, strict=True):
            if outcome.status == 201 and b'"value":"1"' in orjson.dumps(entry):
                batch(self, [{"request": {"method": "DELETE", "url": f"Organization/{outcome.id}"}}], 100)
        return outcomes

    monkeypatch.setattr(MedplumClient, "batch", then_deleted)
    loading = Clinics(tiny, mode)
    assert loading.load()["1"][:2] == ("quarantined", "target-deleted")
    assert loading.all("1") == []


@MODES
def test_a_change_between_look_up_and_update_stays(clinics: Clinics, monkeypatch: pytest.MonkeyPatch) -> None:
    clinics.rename_in_legacy("1")
    meanwhile(monkeypatch, lambda: clinics.change("1", name="Of the user"))
    assert clinics.load()["1"][:2] == ("quarantined", "target-changed")
    assert clinics.only("1")["name"] == "Of the user"


@MODES
def test_what_somebody_changes_before_it_is_read_back_was_written_and_is_changed_since(
    clinics: Clinics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an update as of a create: who has changed it has changed ours, and no older one."""
    batch = MedplumClient.batch
    written: dict[str, str] = {}

    def then_changed(self: MedplumClient, entries: Any, *rest: Any, **options: Any) -> Any:
        outcomes = batch(self, entries, *rest, **options)
        for entry, outcome in zip(entries, outcomes, strict=True):
            if "resource" in entry and outcome.done and b'"value":"1"' in orjson.dumps(entry):
                written[outcome.id] = outcome.version
                theirs = orjson.loads(orjson.dumps(entry["resource"])) | {"id": outcome.id, "name": "Of the user"}
                put = {"method": "PUT", "url": f"Organization/{outcome.id}"}
                batch(self, [{"resource": theirs, "request": put}], 100)
        return outcomes

    clinics.rename_in_legacy("1")
    monkeypatch.setattr(MedplumClient, "batch", then_changed)
    assert clinics.load()["1"][0] == "successful"
    assert clinics.actions()["1"] == "updated"
    assert clinics.only("1")["name"] == "Of the user"
    query = "SELECT medplum_id, version_id FROM target WHERE value = '1' AND system = :system"
    assert dict(clinics.rows(query, system=clinics.system)) == written


def test_in_conditional_mode_an_invalid_resource_is_rejected(tiny: Environment) -> None:
    """Its 400 might have been a lost race: it is looked up once, and sent once more."""
    name = ("https://tiny.example/legacy/clinic", "9")
    body = b'{"identifier":[{"system":"%s","value":"9"}],"name":7,"resourceType":"Organization"}' % name[0].encode()
    with tiny.medplum() as client:
        sender = BatchSender(client, ConcurrencyLimiter(1), "clinic", lambda _: Noted(0), lambda: None, 0.5)
        writer = Writer(sender, 200, Doubts(0.5), Visibility(client, 0.5), conditional=True, sleep=lambda _: None)
        result = writer.write([ResolvedResource(name, "Organization", body, "")], {})
    [failed] = result.settled.values()
    assert isinstance(failed, Failed)
    assert (failed.disposition, failed.reason) == ("rejected", "server-rejected")
    assert [(attempt.action, attempt.status) for attempt in result.attempts] == [("create", 400)] * 2
