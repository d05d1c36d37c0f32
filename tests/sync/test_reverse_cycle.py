"""What users change in Medplum reaches the legacy database once, and comes back to nobody as a change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from medferry.errors import SettingsError, SourceError
from medferry.manifest import feeds, held_back
from medferry.manifest.conflicts import open_conflicts
from medferry.manifest.crosswalk import find_targets
from medferry.manifest.feeds import FeedMoved
from medferry.manifest.write_backs import open_write_backs
from medferry.medplum.errors import Unauthorised
from medferry.plan.authority import AuthorityMatrix
from medferry.plan.model import DeletedPolicy
from medferry.runtime.continuing import OtherSystem
from medferry.source.shown_keys import show_keys_by
from medferry.source.write_faults import RowConflict, WriterBlocked, WriteRefused
from medferry.sync import reverse_cycle, reverse_page, reverse_rows, reverse_write
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.reverse import FoundKind
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.status import status_of
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write, written_back
from tests.sync.test_cycle import Killed, ends, ledger, reason
from tests.sync.test_merge import PHONE, User, faults, rename, user

__all__ = ["user"]

UNCHANGED = {"patient": {"unchanged": 1}}


@pytest.fixture
def both(wave: SyncedWave) -> SyncedWave:
    """The wave in step, with an account that may write its legacy database; its first look back is done."""
    both = written_back(wave.environment, wave.id)
    assert not back_cycle(both).written
    return both


def row(wave: SyncedWave, key: int = 1) -> tuple[Any, ...]:
    """Family, birth date, sex."""
    with wave.environment.source.connect() as connection:
        return tuple(connection.exec_driver_sql(f"SELECT family, born, sex FROM patient WHERE id = {key}").one())


def held(wave: SyncedWave) -> set[tuple[str, str, str]]:
    """(key, path, reason) of what is held back."""
    with wave.environment.manifest.begin() as connection:
        found = held_back.held_back_of(connection, "tiny", wave.units)
    return {(one.key, one.path, one.reason) for one in found}


def log_of(wave: SyncedWave) -> int:
    with wave.environment.source.connect() as connection:
        return int(connection.scalar(sa.text("SELECT count(*) FROM medferry_change WHERE op = 'U'")) or 0)


@contextmanager
def show_keys_by_digest() -> Iterator[None]:
    """As a process does that has the setting."""
    show_keys_by(lambda *_: "0123456789abcdef")
    try:
        yield
    finally:
        show_keys_by(None)


def known_version(wave: SyncedWave) -> str:
    name = (wave.environment.migration.naming.system("patient"), "1")
    with wave.environment.manifest.begin() as connection:
        return find_targets(connection, "tiny", [name])[name].version_id


# -- edits -----------------------------------------------------------------------------------------


def test_an_edit_reaches_the_row_once_and_is_no_change_of_anybody(both: SyncedWave, user: User) -> None:
    user.rename("Baker")
    rename_other(both, "Bell")
    done = back_cycle(both)
    assert (done.written, done.held) == (Counter(patient=2), [])
    assert (row(both), row(both, 2)[0]) == (("Baker", "1970-02-03", "F"), "Bell")
    assert known_version(both) == user.patient["meta"]["versionId"]
    assert ledger(both, cycle(both)) == {"patient": {"unchanged": 2}}, (
        "the journal has our writes, and they are passed over"
    )
    assert user.versions() == 2
    again = back_cycle(both)
    assert not again.written and again.found[FoundKind.EDIT] == 0
    assert log_of(both) == 2
    assert faults(both.environment) == set()


def test_later_changes_of_either_side_find_their_base(both: SyncedWave, write: Write, user: User) -> None:
    user.put(name=[{"family": "Baker"}], birthDate="1971-01-01", **PHONE)
    back_cycle(both)
    assert row(both) == ("Baker", "1971-01-01", "F")
    assert held(both) == set(), "what no mapping makes belongs to Medplum's users"
    write(rename("Adair"))
    cycle(both)
    assert user.content == {"family": "Adair", "birthDate": "1971-01-01", "gender": "female", **PHONE}
    user.put(birthDate="1972-02-02")
    assert back_cycle(both).written == Counter(patient=1)
    assert row(both) == ("Adair", "1972-02-02", "F")
    assert not back_cycle(both).written


def test_what_the_row_did_not_have_before_finds_its_base(both: SyncedWave, write: Write, user: User) -> None:
    write("UPDATE patient SET born = NULL WHERE id = 1")
    cycle(both)
    user.put(birthDate="1971-01-01", gender="other")
    assert back_cycle(both).written == Counter(patient=1)
    assert held(both) == {("1", "gender", "no-local-code")}
    assert row(both) == ("Ada", "1971-01-01", "F")
    write(rename("Adair"))
    cycle(both)
    assert user.content == {"family": "Adair", "birthDate": "1971-01-01", "gender": "other"}


def test_what_has_no_place_in_the_row_makes_up_no_conflict(both: SyncedWave, write: Write, user: User) -> None:
    """An element more, a member more is held back: the row took what it can hold, and that is the base from then on."""
    names = [{"family": "Baker", "given": ["Ann"]}, {"family": "Maiden"}]
    user.put(name=names)
    assert back_cycle(both).written == Counter(patient=1)
    write("UPDATE patient SET sex = 'M' WHERE id = 1")
    assert ends(cycle(both)) == {"successful": 1}
    told = {("1", "name[]", "no-place"), ("1", "name[].given", "no-place")}
    assert (user.patient["name"], user.content["gender"], held(both)) == (names, "male", told)
    user.put(name=[{**names[0], "family": "Cole"}, names[1]])
    assert back_cycle(both).written == Counter(patient=1)
    assert row(both)[0] == "Cole"
    write(rename("Dean"))
    assert ends(cycle(both)) == {"quarantined": 1}, "the name was changed on both sides, and that is told by its place"
    with both.environment.manifest.begin() as connection:
        [conflict] = open_conflicts(connection, "tiny")
    assert conflict.paths == ("name",)


def test_what_cannot_be_expressed_is_told_until_it_can_be(both: SyncedWave, user: User) -> None:
    user.put(gender="other")
    done = back_cycle(both)
    assert not done.written and row(both)[2] == "F"
    assert held(both) == {("1", "gender", "no-local-code")}
    assert "other" not in repr(done)
    with show_keys_by_digest():
        assert [one["key"] for one in status_of(both).as_json()["held_back"]] == ["key:0123456789abcdef"]
    assert [one["key"] for one in status_of(both).as_json()["held_back"]] == ["1"]
    user.put(gender="male")
    assert back_cycle(both).written == Counter(patient=1)
    assert (row(both)[2], held(both)) == ("M", set())


def test_what_is_written_against_the_authority_is_told(both: SyncedWave, user: User) -> None:
    plan = both.environment.migration.plan.model_copy(update={"authority": AuthorityMatrix()})
    migration = replace(both.environment.migration, plan=plan)
    alone = SyncedWave(replace(both.environment, migration=migration), both.id)
    user.put(name=[{"family": "Baker"}], **PHONE)
    assert not back_cycle(alone).written
    assert (held(alone), row(alone)[0]) == ({("1", "", "against-authority")}, "Ada")
    user.rename("Ada")
    back_cycle(alone)
    assert held(alone) == set()


# -- both sides ------------------------------------------------------------------------------------


def test_different_fields_changed_on_either_side_go_both_ways(both: SyncedWave, write: Write, user: User) -> None:
    user.put(birthDate="1971-01-01")
    write(rename("Adair"))
    cycle(both)  # brings the row's change into what the user changed; that version is ours, and says the user's date
    assert back_cycle(both).written == Counter(patient=1)
    assert row(both) == ("Adair", "1971-01-01", "F")
    assert user.content == {"family": "Adair", "birthDate": "1971-01-01", "gender": "female"}
    assert ledger(both, cycle(both)) == UNCHANGED
    assert not back_cycle(both).written


def test_a_row_that_changes_after_the_way_forth_has_looked_keeps_its_change(
    both: SyncedWave, write: Write, user: User
) -> None:
    user.put(birthDate="1971-01-01")
    write(rename("Adair"))
    assert back_cycle(both).written == Counter(patient=1)
    assert row(both) == ("Adair", "1971-01-01", "F")
    cycle(both)
    assert (user.content["family"], user.content["birthDate"], reason(both, "patient", "1")) == (
        "Adair",
        "1971-01-01",
        "",
    )
    back_cycle(both)
    assert cycle(both) == Cycle()
    assert (row(both), user.versions()) == (("Adair", "1971-01-01", "F"), 3)


def test_a_field_changed_on_both_sides_is_held_back_until_they_agree(
    both: SyncedWave, write: Write, user: User
) -> None:
    user.rename("Baker")
    write(rename("Adair"))
    cycle(both)
    assert not back_cycle(both).written
    assert held(both) == {("1", "name.family", "conflict")}
    assert (row(both)[0], user.content["family"]) == ("Adair", "Baker")
    write(rename("Baker"))  # the legacy side gives in
    cycle(both)
    looked_at_again(both)
    back_cycle(both)
    assert held(both) == set()
    user.rename("Bell")
    write(rename("Adair"))
    cycle(both)
    back_cycle(both)
    user.rename("Adair")  # Medplum's side gives in
    back_cycle(both)
    assert (held(both), reason(both, "patient", "1"), row(both)[0]) == (set(), "", "Adair")
    user.rename("Cole")
    assert back_cycle(both).written == Counter(patient=1)
    assert row(both)[0] == "Cole"


def test_a_deletion_is_told_and_the_row_stays(both: SyncedWave, user: User) -> None:
    with both.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{user.patient['id']}"}}], 100)
    looked_at_again(both)
    back_cycle(both)
    assert held(both) == {("1", "", "deleted-in-medplum")}
    assert row(both)[0] == "Ada"


@pytest.mark.parametrize("policy", [DeletedPolicy.REMOVE, DeletedPolicy.INACTIVATE])
def test_a_deletion_goes_to_the_row_where_the_plan_says_so(
    both: SyncedWave, write: Write, user: User, policy: DeletedPolicy
) -> None:
    wave = deleting(both, policy)
    with wave.environment.medplum() as client:
        urls = [f"Patient/{one['id']}" for one in client.search_all("Patient", []) if one["name"][0]["family"] != "Hal"]
        client.batch([{"request": {"method": "DELETE", "url": url}} for url in urls], 100)
    write("UPDATE patient SET family = 'Bell' WHERE id = 2")
    looked_at_again(wave)
    done = back_cycle(wave)
    assert (done.removed, held(wave)) == (Counter(patient=1), {("2", "", "conflict")})
    there = "SELECT count(*) FROM patient WHERE id IN (1, 2) AND deleted_at IS NULL"
    with wave.environment.source.connect() as connection:
        assert connection.scalar(sa.text(there)) == 1
    assert ends(cycle(wave)) == {"skipped": 1, "quarantined": 1}
    looked_at_again(wave)
    assert not back_cycle(wave).removed


@pytest.mark.parametrize("policy", list(DeletedPolicy))
def test_what_was_deleted_and_made_again_by_its_identifier_keeps_its_row(
    both: SyncedWave, user: User, policy: DeletedPolicy
) -> None:
    """As an integration does; and once that one is deleted, too, the record is."""
    wave, old = deleting(both, policy), user.patient
    again = {name: value for name, value in old.items() if name not in ("id", "meta")}
    with wave.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{old['id']}"}}], 100)
        [made] = client.batch([{"request": {"method": "POST", "url": "Patient"}, "resource": again}], 200)
        looked_at_again(wave)
        done = back_cycle(wave)
        assert (done.removed, held(wave), row(wave)[0]) == (Counter(), {("1", "", "deleted-in-medplum")}, "Ada")
        assert [one.detail for one in done.held] == [f"Patient/{made.id}"]
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{made.id}"}}], 100)
    looked_at_again(wave)
    removed = Counter() if policy is DeletedPolicy.REPORT else Counter(patient=1)
    assert back_cycle(wave).removed == removed


def deleting(wave: SyncedWave, policy: DeletedPolicy) -> SyncedWave:
    """The wave by a plan that removes rows, or marks them."""
    migration = wave.environment.migration
    plan = migration.plan.model_copy(update={"deleted_in_medplum": {"patient": policy}})
    inverse = migration.inverses["patient"]
    tables = (replace(inverse.tables[0], removed="deleted_at"),)
    inverses = {"patient": replace(inverse, tables=tables)}
    return SyncedWave(replace(wave.environment, migration=replace(migration, plan=plan, inverses=inverses)), wave.id)


def looked_at_again(wave: SyncedWave) -> None:
    """As if the last page of the sweep, and the last look at what is held back, were long ago."""
    with wave.environment.manifest.begin() as connection:
        connection.execute(sa.update(feeds.feed).values(moved_at="2020-01-01T00:00:00.000Z"))
        connection.execute(sa.update(held_back.held_back).values(at="2020-01-01T00:00:00.000Z"))


def test_what_is_born_in_medplum_is_told_until_it_is_gone(both: SyncedWave, user: User) -> None:
    with both.environment.medplum() as client:
        clinic = user.patient["managingOrganization"]
        new = [{"resourceType": "Patient", "managingOrganization": clinic}, {"resourceType": "Patient"}]
        requests = [{"resource": one, "request": {"method": "POST", "url": "Patient"}} for one in new]
        ours, _ = client.batch(requests, 200)
        done = back_cycle(both)
        born = {(f"Patient/{ours.id}", "", "born-in-medplum")}
        assert (held(both), len(done.held)) == (born, 1), "one that refers to nothing of ours is somebody else's"
        looked_at_again(both)
        back_cycle(both)
        assert held(both) == born
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{ours.id}"}}], 100)
    looked_at_again(both)
    back_cycle(both)
    assert held(both) == set()


# -- kills and refusals ----------------------------------------------------------------------------

ACTS = {"begin": reverse_write, "write_rows": reverse_rows, "_read_back": reverse_write, "_end": reverse_write}
"""What a cycle does in this order: it notes, writes rows, reads back, records. Each is durable when it returns, but for
the last, which is part of the transaction that records."""


@contextmanager
def killed(act: str, number: int, after: bool) -> Iterator[None]:
    """Let the cycle die at the act of that number, before it or after; nobody tidies up."""
    real, calls, dead = getattr(ACTS[act], act), 0, False

    def dies(*given: Any, **more: Any) -> Any:
        nonlocal calls, dead
        calls += 1
        if calls == number and not dead:
            if after:
                real(*given, **more)
            dead = True
            raise Killed
        return None if dead and act == "_end" else real(*given, **more)

    with pytest.MonkeyPatch.context() as patched:
        if act != "_end":
            patched.setattr(reverse_write, "_end", lambda *_: None)
        patched.setattr(ACTS[act], act, dies)
        yield


@pytest.mark.parametrize("at_once", [1, 20])
def test_a_kill_at_any_act_writes_each_edit_once(
    both: SyncedWave, user: User, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverse_rows, "ROWS_AT_ONCE", at_once)
    points = [(act, number, after) for act in ACTS for number in (1, 2) for after in (False, True)]
    for count, (act, number, after) in enumerate(points):
        if number == 2 and (act != "write_rows" or at_once > 1):
            continue  # there is one of a page
        before, family, later = log_of(both), f"Kill {count}", count % 3 == 0
        user.rename(family)
        rename_other(both, family)
        with killed(act, number, after), pytest.raises(Killed):
            back_cycle(both)
        if later:
            user.rename(family := f"Later {count}")
        cycle(both)
        back_cycle(both)
        told = (act, number, after)
        assert (row(both)[0], row(both, 2)[0]) == (family, f"Kill {count}"), told
        assert log_of(both) - before in ((2, 3) if later else (2,)), told
        assert (reason(both, "patient", "1"), held(both)) == ("", set()), told
        with both.environment.manifest.begin() as connection:
            assert open_write_backs(connection, "tiny", both.id) == [], told
    assert faults(both.environment) == set()


def rename_other(wave: SyncedWave, family: str) -> None:
    """An edit of the patient 2."""
    system = wave.environment.migration.naming.system("patient")
    with wave.environment.medplum() as client:
        [ben] = client.search_all("Patient", [("identifier", f"{system}|2")])
        edited = {**ben, "name": [{"family": family}]}
        client.batch([{"resource": edited, "request": {"method": "PUT", "url": f"Patient/{ben['id']}"}}], 100)


def test_what_is_refused_is_held_back_and_tried_again(
    both: SyncedWave, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = WriterBlocked("The legacy database gives no right to write (patient, 42501).", "Grant it.")
    conflict = RowConflict("patient 1 was changed by somebody else.", "Read the row again.")
    user.rename("Baker")
    rename_other(both, "Bell")
    for error, reason_ in ((blocked, "entity-set-aside"), (conflict, "row-changed")):
        with monkeypatch.context() as patched:
            patched.setattr(reverse_rows, "write_rows", Mock(side_effect=error))
            assert not back_cycle(both).written
        assert held(both) == {("1", "", reason_), ("2", "", reason_)}
        looked_at_again(both)
    assert back_cycle(both).written == Counter(patient=2)
    assert held(both) == set()
    user.rename("Cole")
    before = log_of(both)
    moved = FeedMoved("Another process reads Medplum's changes.", "Let one of them do it.")
    with monkeypatch.context() as patched:
        patched.setattr(reverse_cycle, "move_feed", Mock(side_effect=moved))
        with pytest.raises(FeedMoved):
            back_cycle(both)
    cycle(both)
    back_cycle(both)
    assert (row(both)[0], log_of(both) - before) == ("Cole", 1)


def test_what_was_held_back_is_tried_by_itself(both: SyncedWave, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad row would otherwise be in the way of all that are looked at with it, each time."""
    sizes = list[int]()

    def refused(_engine: Any, _entity: Any, _tables: Any, edits: Any, _through: Any) -> Any:
        sizes.append(len(edits))
        raise WriteRefused("The legacy database has no room for a value (patient, 22001).", "Give its bounds.")

    monkeypatch.setattr(reverse_rows, "write_rows", refused)
    user.rename("Baker")
    rename_other(both, "Bell")
    assert not back_cycle(both).written
    assert (sizes, held(both)) == ([2, 1, 1], {("1", "", "write-refused"), ("2", "", "write-refused")})
    looked_at_again(both)
    back_cycle(both)
    assert sizes[3:5] == [1, 1]


def test_what_fails_for_one_entity_or_type_stops_no_other(
    both: SyncedWave, write: Write, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(resource: dict[str, Any], row_: Any, ctx: Any) -> Any:
        if resource["name"][0]["family"] == "Baker":
            raise KeyError("Baker")
        return patient_back(resource, row_, ctx)

    inverse = both.environment.migration.inverses["patient"]
    patient_back = inverse.function
    inverses = {"patient": replace(inverse, function=raising)}
    migration = replace(both.environment.migration, inverses=inverses)
    wrong = SyncedWave(replace(both.environment, migration=migration), both.id)
    user.rename("Baker")
    rename_other(both, "Bell")
    assert back_cycle(wrong).written == Counter(patient=1)
    assert held(wrong) == {("1", "", "inverse-error")}
    write("ALTER TABLE patient RENAME COLUMN born TO birth")
    looked_at_again(both)
    assert not back_cycle(both).written
    assert held(both) == {("1", "", "entity-set-aside")}
    write("ALTER TABLE patient RENAME COLUMN birth TO born")
    looked_at_again(both)
    monkeypatch.setattr(reverse_cycle, "returning_types", lambda _: ["Basic", "Patient"])
    real, asked = reverse_page.next_page, list[str]()

    def forbidden(client: Any, kind: str, *more: Any) -> Any:
        asked.append(kind)
        if kind == "Basic":
            raise Unauthorised("Medplum refused a search (HTTP 403).", "Check the client's access policy.")
        return real(client, kind, *more)

    monkeypatch.setattr(reverse_page, "next_page", forbidden)
    with pytest.raises(Unauthorised):
        back_cycle(both)
    assert (asked, held(both), row(both)[0]) == (["Basic", "Patient"], set(), "Baker")


def test_without_an_account_for_that_very_database_nothing_is_done(wave: SyncedWave, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MEDFERRY_LEGACY_WRITER_URL"):
        back_cycle(wave)
    (tmp_path / "other.db").touch()
    settings = replace(wave.environment.settings, legacy_writer_url=f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(OtherSystem):
        back_cycle(SyncedWave(replace(wave.environment, settings=settings), wave.id))


def test_what_the_writing_account_may_not_read_holds_its_entity_back(both: SyncedWave, user: User) -> None:
    """Its tables it may write; of what else the entity's SQL reads, the database refuses it the row."""
    user.rename("Baker")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reverse_rows, "write_rows", Mock(side_effect=SourceError("permission denied for table code")))
        assert not back_cycle(both).written
    assert held(both) == {("1", "", "entity-set-aside")}
    looked_at_again(both)
    assert back_cycle(both).written == Counter(patient=1)
    assert (row(both)[0], held(both)) == ("Baker", set())
