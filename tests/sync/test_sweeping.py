"""A sweep finds and applies what the journal missed, stops when told to, and says from where a wave goes on."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from medferry.errors import SourceError
from medferry.manifest import checkpoints, sweeps
from medferry.manifest.checkpoints import CheckpointState
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install
from medferry.source.changes.rules import CaptureMethod
from medferry.source.changes.sweep import Throttle
from medferry.sync import carry_out, sweeping
from medferry.sync.aside import entities_of
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.pruning import prune
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncBusy, SyncedWave, synced_wave
from tests.sync.conftest import FREE, Write, families
from tests.sync.test_unreadable import kilograms

UNSEEN = "DELETE FROM medferry_change WHERE op <> 'F'"


def test_each_planted_miss_is_found_applied_and_measured(wave: SyncedWave, write: Write) -> None:
    write(
        "UPDATE patient SET family = 'Unseen' WHERE id = 1",
        "INSERT INTO patient VALUES (9, 'north', 1, 'Born', '2000-01-01', 'F', NULL)",
        "DELETE FROM weight WHERE id = 0",
        UNSEEN,
    )
    write("UPDATE patient SET family = 'Seen' WHERE id = 2")
    assert sum(cycle(wave).runs.popitem()[1].values()) == 1
    swept = sweep_wave(wave, FREE)
    assert {name: found.missed for name, found in swept.entities.items() if found.missed} == {
        "patient": {"1", "9"},
        "weight": {"0"},
    }
    assert swept.applied == {"successful": 2, "skipped": 1}
    assert families(wave.environment).items() >= {"1": "Unseen", "2": "Seen", "9": "Born"}.items()
    with wave.environment.manifest.begin() as connection:
        newest = sweeps.newest_sweeps(connection, wave.environment.migration.name, wave.id)
    assert (newest["patient"].missed, newest["patient"].rows, newest["weight"].missed) == (2, 5, 1)
    assert cycle(wave) == Cycle()
    assert not sweep_wave(wave, FREE).applied


@pytest.mark.parametrize("between", ["look and note", "note and run"])
def test_a_table_that_vanishes_before_what_was_found_is_applied_stops_its_entity_alone(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    write("UPDATE patient SET family = 'Unseen' WHERE id = 1", "UPDATE weight SET kg = 99 WHERE id = 0", UNSEEN)
    module, step = (sweeping, "keys_to_stage") if between == "look and note" else (carry_out, "load_session")
    real, gone = getattr(module, step), ["ALTER TABLE weight RENAME TO away"]

    def vanishes(*given: object) -> object:
        while gone:
            write(gone.pop())
            if module is carry_out:
                raise SourceError("There is no table weight.")
        return real(*given)

    monkeypatch.setattr(module, step, vanishes)
    swept = sweep_wave(wave, FREE)
    assert swept.entities["weight"].missed == {"0"}
    staged = between == "note and run"
    assert swept.applied == {"successful": 1 + staged} and families(wave.environment)["1"] == "Unseen"
    assert list(swept.refused) == [one.entity for one in entities_of(wave)] == ([] if staged else ["weight"])
    assert cycle(wave) == Cycle() and [one.entity for one in entities_of(wave)] == ["weight"]
    write("ALTER TABLE away RENAME TO weight")
    install(wave.environment.capture, wave.journal)
    assert cycle(wave).records > 0 and kilograms(wave)["0"] == 99
    assert entities_of(wave) == [] and not sweep_wave(wave, FREE).applied


def test_what_waits_in_the_journal_is_left_to_the_cut(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    assert not sweep_wave(wave, FREE).applied
    assert cycle(wave).records == 1


def test_a_sweep_that_is_stopped_gives_no_position(loaded: Environment, write: Write) -> None:
    wave = synced_wave(loaded, "pilot")
    install(loaded.capture, wave.journal)
    write("UPDATE clinic SET name = 'Unseen' WHERE id = 1", UNSEEN)
    swept = sweep_wave(wave, Throttle(rows_per_second=1e9, latency=60, stopped=lambda: True))
    assert (len(swept.entities), swept.goes_on, swept.applied) == (1, False, {"successful": 1})
    assert wave.newest() is None


def test_a_complete_sweep_begins_where_it_began(loaded: Environment, write: Write) -> None:
    """What is committed while it reads is in the first cut."""
    wave = synced_wave(loaded, "pilot")
    install(loaded.capture, wave.journal)
    told: list[str] = []

    def tell(swept: object) -> None:
        if not told:
            write("UPDATE clinic SET name = 'Meanwhile' WHERE id = 1")
        told.append(str(swept))

    assert sweep_wave(wave, FREE, tell=tell).goes_on
    position = wave.position()
    assert (position.method, position.state, position.run_id) == (CaptureMethod.SWEEP, CheckpointState.APPLIED, "")
    assert cycle(wave).records == 1


def test_one_entity_alone_does_not_move_the_position(wave: SyncedWave, write: Write) -> None:
    before = wave.position()
    write("UPDATE patient SET family = 'Unseen' WHERE id = 1", UNSEEN)
    assert sweep_wave(wave, FREE, ["patient"]).applied == {"successful": 1}
    after = wave.position()
    assert (after.position_to, after.method) == (before.position_to, CaptureMethod.SWEEP)
    with wave.environment.manifest.begin() as connection:
        assert checkpoints.recent(connection, wave.environment.migration.name, wave.id, 5) == []


def test_pruning_leaves_what_a_wave_still_needs(wave: SyncedWave, write: Write) -> None:
    other = synced_wave(wave.environment, "rest")
    sweep_wave(other, FREE)
    write(
        "UPDATE patient SET family = 'Adair' WHERE id = 1",
        "UPDATE patient SET family = 'Bell' WHERE id = 2",
        "UPDATE medferry_change SET at = datetime('now', '-40 days') WHERE op <> 'F'",
    )
    cycle(wave)
    assert prune(wave.environment, 30) == 0, "the other wave has not taken it"
    cycle(other)
    assert prune(wave.environment, 30) == 1, "the newest stays"
    assert prune(wave.environment, 30) == 0
    write("UPDATE patient SET family = 'Later' WHERE id = 1")
    assert cycle(wave).records == 1


def test_where_no_wave_is_in_step_nothing_is_pruned(loaded: Environment, write: Write) -> None:
    wave = synced_wave(loaded, "pilot")
    install(loaded.capture, wave.journal)
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE medferry_change SET at = '2020-01-01 00:00:00'")
    assert prune(loaded, 1) == 0


def test_what_a_sweep_found_waits_for_the_cycle_that_is_at_work(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("UPDATE patient SET family = 'Unseen' WHERE id = 1", UNSEEN)
    with ExitStack() as at_work:
        at_work.enter_context(wave.alone())
        monkeypatch.setattr(sweeping, "PATIENCE_SECONDS", 0.0)
        with pytest.raises(SyncBusy):
            sweep_wave(wave, FREE)
        monkeypatch.setattr(sweeping, "PATIENCE_SECONDS", 3600.0)
        monkeypatch.setattr(time, "sleep", lambda _: at_work.close())  # the cycle ends while the sweep waits
        assert sweep_wave(wave, FREE).applied == {"successful": 1}
