"""The living clinic: what the verdict calls lost, and a few seconds of life."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from demo_clinics.demo import write_variables
from demo_clinics.living.diary import Diary, Side, last_words, quantile
from demo_clinics.living.facts import of_resource
from demo_clinics.living.run import live_in
from demo_clinics.living.systems import systems
from demo_clinics.living.verdict import Shown, faults_of_births, judge
from medferry.runtime.settings import Settings
from medferry_bench.in_step import measure_found

NAME = ("patient", "1")
BOOKED = ("appointment", "7")
SYSTEM = "https://clinics.example/legacy/appointment"
SHORT = 4.0


def diary(*edits: tuple[Side, str, str, float], both_ways: bool = False) -> Diary:
    """Of one record: (side, field, value, time)."""
    made = Diary(both_ways)
    for side, name, value, at in edits:
        made.note(side, "changes", NAME, {name: value}, at)
    return made


def lost(of: Diary, row: str | None, resource: str | None, undecided: bool = False, name: str = "email") -> list[str]:
    rows = {NAME: {name: row}} if name not in ("note",) else {NAME: {}}
    return judge(of, rows, {NAME: {name: resource}}, {NAME} if undecided else ()).lost


def test_what_is_the_same_and_what_was_written_is_good() -> None:
    assert lost(diary(), "a", "a") == []
    assert lost(diary((Side.LEGACY, "email", "b", 1.0)), "b", "b") == []


@pytest.mark.parametrize(
    ("of", "row", "resource", "undecided"),
    [
        (diary(), "a", "b", False),
        (diary((Side.LEGACY, "email", "b", 1.0)), "b", "a", False),
        (diary((Side.LEGACY, "email", "b", 1.0)), "a", "a", False),
        (diary((Side.MEDPLUM, "email", "b", 1.0)), "a", "a", False),
        (diary((Side.MEDPLUM, "email", "b", 1.0)), "a", "c", False),
        (diary((Side.MEDPLUM, "email", "b", 1.0), both_ways=True), "a", "b", False),
        (diary((Side.MEDPLUM, "email", "b", 1.0), (Side.LEGACY, "email", "c", 2.0)), "c", "b", False),
        (diary((Side.MEDPLUM, "email", "b", 1.0), (Side.LEGACY, "email", "c", 2.0)), "c", "a", True),
        (diary((Side.MEDPLUM, "email", "b", 1.0), (Side.LEGACY, "email", "c", 2.0)), "a", "b", True),
    ],
)
def test_what_is_lost_is_told(of: Diary, row: str, resource: str, undecided: bool) -> None:
    assert len(lost(of, row, resource, undecided)) == 1


def test_a_conflict_that_is_told_keeps_both() -> None:
    both = diary((Side.MEDPLUM, "email", "b", 1.0), (Side.LEGACY, "email", "c", 2.0))
    assert lost(both, "c", "b", undecided=True) == []


def test_medplums_own_is_looked_for_in_medplum() -> None:
    own = diary((Side.MEDPLUM, "note", "b", 1.0))
    assert lost(own, None, "b", name="note") == []
    assert len(lost(own, None, "a", name="note")) == 1


def test_what_never_came_is_told() -> None:
    found = judge(diary((Side.LEGACY, "email", "b", 1.0)), {NAME: {"email": "b"}}, {}, ())
    assert found.lost == ["patient 1: not in Medplum"] and not found.is_good
    found = judge(diary((Side.LEGACY, "email", "b", 1.0)), {}, {}, ())
    assert found.lost == ["patient 1: not in the legacy system"]


def test_who_has_seen_the_others_word_has_the_last() -> None:
    made = diary((Side.LEGACY, "email", "a", 1.0), (Side.MEDPLUM, "email", "b", 9.0))
    edits = made.edits[(*NAME, "email")]
    assert [edit.value for edit in last_words(edits)] == ["b", "a"]
    edits[0].seen = 5.0
    assert [edit.value for edit in last_words(edits)] == ["b"]


def test_lag_is_told_when_the_other_side_shows_the_value() -> None:
    made = diary((Side.LEGACY, "email", "a", 1.0))
    made.saw(NAME, {"email": "other"}, Side.MEDPLUM, 2.0, 3.0)
    assert made.pending(Side.LEGACY)
    made.saw(NAME, {"email": "a"}, Side.MEDPLUM, 2.5, 3.0)
    assert not made.pending(Side.LEGACY) and made.lags[Side.LEGACY] == [1.5]
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0 and quantile([], 0.5) is None


def test_what_was_undone_before_it_went_over_is_not_waited_for() -> None:
    made = diary((Side.LEGACY, "status", "cancelled", 1.0), (Side.LEGACY, "status", "booked", 1.1))
    made.found_the_same(NAME, {"status": "cancelled"}, Side.MEDPLUM)
    assert made.pending(Side.LEGACY)
    made.found_the_same(NAME, {"status": "booked"}, Side.MEDPLUM)
    assert not made.pending(Side.LEGACY)
    assert made.lags[Side.LEGACY] == []


def test_a_resource_of_nobody_is_none() -> None:
    assert of_resource({"identifier": [{"system": "https://clinics.example/legacy/document", "value": "1"}]}) is None


def faults(*shown: Shown, legacy: tuple[tuple[str, str], ...] = (BOOKED,)) -> list[str]:
    """Of a clinic with one patient, in which one appointment was made in Medplum."""
    made = Diary(both_ways=True)
    made.note_birth("books", "appointment", "a1", {"reason": "cough"}, 1.0)
    return faults_of_births(made, [NAME, *legacy], [NAME], shown)


def test_what_was_created_in_medplum_has_one_row_and_that_row_one_resource() -> None:
    def name(key: str) -> tuple[str, str]:
        return SYSTEM, key

    good = Shown("a1", "2", (name("7"),))
    assert faults(good) == []
    assert faults() == [
        "appointment created as a1: it has 0 names of rows",
        "appointment 7: a row that nobody has made",
    ]
    assert faults(Shown("a1", "1", ()), legacy=()) == ["appointment created as a1: it has 0 names of rows"]
    assert faults(good, legacy=()) == ["appointment 7 of a1: no such row"]
    assert faults(good, legacy=(BOOKED, ("appointment", "8"))) == ["appointment 8: a row that nobody has made"]
    assert faults(good, Shown("a2", "1", (name("7"),))) == ["appointment 7: 2 resources"]
    two = faults(Shown("a1", "3", (name("7"), name("8"))), legacy=(BOOKED, ("appointment", "8")))
    assert two == ["appointment created as a1: it has 2 names of rows"]


def test_what_was_created_in_medplum_is_waited_for_and_then_a_record_as_any_other() -> None:
    made = Diary(both_ways=True)
    made.note_birth("books", "appointment", "a1", {"reason": "cough"}, 1.0)
    assert made.unborn == {"a1"} and made.total(Side.MEDPLUM) == 1
    assert made.saw_born("a1", BOOKED) and not made.saw_born("a1", BOOKED) and not made.unborn
    assert made.pending(Side.MEDPLUM) == [(*BOOKED, "reason")]
    made.saw(BOOKED, {"reason": "cough"}, Side.LEGACY, 3.5, 3.5)
    assert made.lags[Side.MEDPLUM] == [2.5]
    verdict = judge(made, {BOOKED: {"reason": "other"}}, {BOOKED: {"reason": "cough"}}, ())
    assert verdict.lost and verdict.births == {Side.LEGACY: 0, Side.MEDPLUM: 1}


@pytest.mark.slow
def test_a_few_seconds_of_life_lose_nothing_and_are_measured(tmp_path: Path) -> None:
    with systems(tmp_path, seed=3, patients=15, tell=lambda _: None) as found:
        verdict = live_in(found, SHORT, rate=8, seed=3)
        assert verdict.is_good, verdict.lost
        assert verdict.edits > 10
        assert all(verdict.births.values()), "each of them stands on the other side once, or it would be lost"
        figures = measure_found(found, lambda _: None, rate=8, seconds=2, cycles=2, rest=0)
    for way in ("forth", "back"):
        assert figures[way]["values"] > 0
        assert figures[way]["missing"] <= figures[way]["undecided"]
    assert figures["empty"]["requests"]["legacy"] > 0
    assert figures["sweep"]["missed"] == 0


def test_a_shell_that_sources_the_demos_variables_works_at_its_systems(tmp_path: Path) -> None:
    settings = Settings(source_url="postgresql://a:it's a $ecret@127.0.0.1/x", manifest_url="sqlite:///m.db")
    path = tmp_path / "medferry.env"
    for _ in range(2):  # the one of an earlier demo is replaced
        write_variables(settings, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = subprocess.run(
        ["sh", "-c", f'. {path}; printf %s "$MEDFERRY_SOURCE_URL" " $MEDFERRY_MANIFEST_URL"'],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert said == f"{settings.source_url} {settings.manifest_url}"
