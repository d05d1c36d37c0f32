"""What the line of a row says counts, whatever has become of the note: no second resource for a row that was born."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medferry.manifest.births import NotedBirth
from medferry.manifest.held_back import held_back_of
from medferry.manifest.subject import Subject
from medferry.medplum.errors import MedplumUnavailable
from medferry.stages import load
from medferry.sync import adopt, finish_births, reverse_born
from medferry.sync.cycle import cycle
from medferry.sync.reverse import FoundKind
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from medferry.verification.born import BORN
from medferry.verification.run import verify_subject
from tests.copied_manifest import copied_manifest
from tests.sync.conftest import Write
from tests.sync.taking_births import births_wave, rows
from tests.sync.test_births import Users, lines, notes
from tests.sync.test_cycle import Killed, ends, reason
from tests.sync.test_reverse_cycle import held, show_keys_by_digest

BEFORE = 3
"""Patients that were loaded."""


def dead(*_: Any, **__: Any) -> Any:
    raise Killed


def killed_before_the_identifier(taking: SyncedWave) -> str:
    """The id of a birth whose row is there."""
    id_ = Users(taking).create(identifier=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adopt.Adopter, "_identified", dead)
        with pytest.raises(Killed):
            back_cycle(taking)
    assert (len(rows(taking)), lines(taking), notes(taking)) == (1, 1, 1)
    return id_


def patients(wave: SyncedWave) -> int:
    with wave.environment.medplum() as client:
        return client.count("Patient")


def is_whole(wave: SyncedWave, id_: str) -> None:
    """The row and the resource are one, and nobody has another for either."""
    assert (patients(wave), len(rows(wave)), lines(wave), notes(wave)) == (BEFORE + 1, 1, 1, 0)
    assert Users(wave).id_of("patient", "9") == id_
    assert {"system": Users(wave).system, "value": "9"} in Users(wave).read("Patient", id_)["identifier"]
    assert (reason(wave, "patient", "9"), held(wave)) == ("", set())


@pytest.fixture
def taking(wave: SyncedWave) -> SyncedWave:
    return births_wave(wave)


EDITS: dict[str, dict[str, Any]] = {
    "removed": {"birthDate": None},
    "under another use": {"name": [{"use": "official", "family": "Itoh"}]},
    "changed": {"name": [{"family": "Itoh"}], "gender": "male"},
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_edited_before_the_identifier_stays_edited(taking: SyncedWave, edit: str) -> None:
    """The row was made of the first version: what it says of what users have changed since is no news."""
    id_, users = killed_before_the_identifier(taking), Users(taking)
    wanted = {**users.read("Patient", id_), "meta": None, **EDITS[edit]}
    users.send("PUT", f"Patient/{id_}", {name: value for name, value in wanted.items() if value})
    back_cycle(taking)
    cycle(taking)
    back_cycle(taking)
    born = users.read("Patient", id_)
    assert {"system": users.system, "value": "9"} in born["identifier"]
    assert {name: born.get(name) for name in EDITS[edit]} == EDITS[edit]
    [(*_, family, day, sex)] = rows(taking)
    assert (family, day, sex) == {
        "removed": ("Ito", None, "F"),
        "under another use": ("Itoh", "2001-02-03", "F"),
        "changed": ("Itoh", "2001-02-03", "M"),
    }[edit]


@pytest.mark.parametrize("shown", ["9", "key:0123456789abcdef"])
def test_a_row_that_is_gone_is_told_by_its_key_as_keys_are_shown(taking: SyncedWave, write: Write, shown: str) -> None:
    killed_before_the_identifier(taking)
    write("DELETE FROM patient WHERE id = 9")
    with show_keys_by_digest() if shown != "9" else nullcontext():
        back_cycle(taking)
    with taking.environment.manifest.begin() as connection:
        told = held_back_of(connection, "tiny", taking.units)
    assert {(one.reason, one.detail) for one in told} == {("row-gone", shown)}


def test_a_restored_manifest_knows_no_note_and_the_way_forth_goes_first(taking: SyncedWave, tmp_path: Path) -> None:
    restored = SyncedWave(copied_manifest(taking.environment, tmp_path / "old.db"), taking.id)
    id_ = killed_before_the_identifier(taking)
    assert ends(cycle(restored)) == Counter(quarantined=1)
    assert (reason(restored, "patient", "9"), patients(restored)) == ("born-in-medplum", BEFORE + 1)
    cycle(restored)
    is_whole(restored, id_)
    assert (back_cycle(restored).born, back_cycle(restored).written) == (Counter(), Counter())


def test_a_manifest_of_before_the_first_look_takes_it_for_somebody_else_s(wave: SyncedWave, tmp_path: Path) -> None:
    old = SyncedWave(copied_manifest(wave.environment, tmp_path / "old.db"), wave.id)
    taking = births_wave(wave)
    id_ = killed_before_the_identifier(taking)
    restored = SyncedWave(replace(taking.environment, settings=settings_of(old, taking)), taking.id)
    found = back_cycle(restored)
    assert (found.found[FoundKind.ELSEWHERE], found.born) == (1, Counter())
    assert ends(cycle(restored)) == Counter(quarantined=1)
    back_cycle(restored)
    cycle(restored)
    is_whole(restored, id_)


def settings_of(old: SyncedWave, taking: SyncedWave) -> Any:
    return replace(taking.environment.settings, manifest_url=old.environment.settings.manifest_url)


def test_a_commit_that_lands_after_its_note_was_closed(taking: SyncedWave) -> None:
    insert, kept = reverse_born.insert_row, list[tuple[Any, ...]]()

    def at_work(*given: Any) -> Any:
        kept.append(given)
        raise Killed

    id_ = Users(taking).create(identifier=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reverse_born, "insert_row", at_work)
        with pytest.raises(Killed):
            back_cycle(taking)
        patched.setattr(reverse_born.Delivery, "again", unanswered)
        patched.setattr(reverse_born.Delivery, "first", unanswered)
        with pytest.raises(MedplumUnavailable):
            back_cycle(taking)
    assert notes(taking) == 0
    insert(*kept[0])
    assert ends(cycle(taking)) == Counter(quarantined=1)
    cycle(taking)
    is_whole(taking, id_)


def unanswered(*_: Any, **__: Any) -> Any:
    raise MedplumUnavailable("Medplum does not answer.", "Wait.")


def doubled(taking: SyncedWave) -> str:
    """The id of a birth whose row became another resource: what a way forth without the lines makes of it."""
    id_ = Users(taking).create(identifier=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adopt.Adopter, "_identified", dead)
        with pytest.raises(Killed):
            back_cycle(taking)
        patched.setattr(finish_births, "open_births", lambda *_: list[NotedBirth]())
        patched.setattr(load, "leave_born", lambda *_: 0)
        cycle(taking)
    return id_


def test_what_was_doubled_before_is_left_alone_until_one_is_deleted(taking: SyncedWave, write: Write) -> None:
    users = Users(taking)
    for born_stays in (True, False):
        id_ = doubled(taking)
        key = str(rows(taking)[-1][0])
        other = users.id_of("patient", key)
        assert other != id_, "planted"
        write(f"UPDATE patient SET born = '2001-02-04' WHERE id = {key}")
        cycle(taking)
        assert reason(taking, "patient", key) == "born-in-medplum"
        assert (f"Patient/{id_}", "", "conflict") in held(taking)
        users.send("DELETE", f"Patient/{other if born_stays else id_}")
        back_cycle(taking)
        write(f"UPDATE patient SET born = '2001-02-05' WHERE id = {key}")
        cycle(taking)
        assert users.id_of("patient", key) == (id_ if born_stays else other)
        assert (reason(taking, "patient", key), notes(taking)) == ("", 0)
        assert users.read("Patient", users.id_of("patient", key))["birthDate"] == "2001-02-05"


def test_a_double_is_not_proven(taking: SyncedWave) -> None:
    id_ = doubled(taking)
    told = [result for result in verify_subject(taking.environment).verdict.results if result.name == BORN]
    assert [(one.entity, one.compared, one.different) for one in told] == [("patient", 1, 1)]
    [example] = told[0].examples
    assert example == f"9 Patient/{id_} main another resource"


def test_a_birth_that_is_whole_is_equal(taking: SyncedWave) -> None:
    Users(taking).create(identifier=None)
    back_cycle(taking)
    cycle(taking)
    for subject, equal in ((Subject(units=taking.units), 1), (Subject(keys={"patient": ("1",)}), 0)):
        verdict = verify_subject(taking.environment, subject).verdict
        told = [result for result in verdict.results if result.name == BORN]
        assert [(one.compared, one.different, one.unchecked) for one in told if one.compared] == [(1, 0, 0)] * equal
