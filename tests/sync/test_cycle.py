"""A cycle brings what changed, and only that; killed anywhere, the next one ends in the same state."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa

from medferry.definition.migration import load_migration
from medferry.errors import LeaseHeld
from medferry.manifest import leases, runs
from medferry.manifest.accounting import accounts
from medferry.manifest.checkpoints import CheckpointState, Interval
from medferry.manifest.unit_state import states_of
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install, remove
from medferry.source.changes.journal import CaptureBroken, PositionLost
from medferry.sync import carry_out
from medferry.sync import cycle as cycles
from medferry.sync.cycle import Cycle, cycle, scheduled_cycle
from medferry.sync.status import pending_records, status_of
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import NeverLoaded, NeverSwept, NoCapture, NoSuchWave, SyncBusy, SyncedWave, synced_wave
from tests.sync.conftest import FREE, Write, families, load


def ends(cycle_: Cycle) -> Counter[str]:
    """Records by disposition of all runs of a cycle."""
    return sum(cycle_.runs.values(), Counter[str]())


def ledger(wave: SyncedWave, done: Cycle) -> dict[str, dict[str, int]]:
    """Entity → resources by what was done to them."""
    [run_id] = done.runs
    with wave.environment.manifest.begin() as connection:
        rows = accounts(connection, run_id)
    names = ("created", "updated", "unchanged")
    return {row.entity: {name: getattr(row, name) for name in names if getattr(row, name)} for row in rows}


def reason(wave: SyncedWave, entity: str, key: str) -> str:
    with wave.environment.manifest.begin() as connection:
        return states_of(connection, wave.environment.migration.name, entity, [key])[key].reason


def test_what_changed_arrives_and_nothing_else_is_touched(wave: SyncedWave, write: Write) -> None:
    write(
        "UPDATE patient SET family = 'Adair' WHERE id = 1",
        "INSERT INTO patient VALUES (9, 'north', 1, 'New', '2000-01-01', 'F', NULL)",
        "INSERT INTO weight VALUES (100, 'north', 9, 50, '2024-05-01 08:30:00', NULL)",
    )
    done = cycle(wave)
    assert ledger(wave, done) == {"patient": {"created": 1, "updated": 1}, "weight": {"created": 1}}
    assert {key: name for key, name in families(wave.environment).items() if key in "19"} == {"1": "Adair", "9": "New"}
    assert cycle(wave) == Cycle()


def test_a_change_that_changes_nothing_writes_nothing(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = family WHERE id = 1")
    assert ledger(wave, cycle(wave)) == {"patient": {"unchanged": 1}}


def test_rows_of_other_waves_are_left_to_them(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET born = '1985-02-28' WHERE id = 4")
    assert cycle(wave) == Cycle()


def test_an_empty_cycle_asks_the_manifest_for_all_entities_at_once(wave: SyncedWave) -> None:
    asked = Counter[str]()

    def executed(*of: object) -> None:
        asked[str(of[2])] += 1

    assert cycle(wave) == Cycle()
    sa.event.listen(wave.environment.manifest, "before_cursor_execute", executed)
    assert cycle(wave) == Cycle()
    often = {
        statement: times for statement, times in asked.items() if times >= len(wave.environment.migration.entities)
    }
    assert [*often] == ["BEGIN IMMEDIATE"]
    assert "unit_state" in str(asked)


def test_an_empty_cycle_asks_medplum_nothing_and_leaves_no_run(
    wave: SyncedWave, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_request(*_: object, **__: object) -> None:
        raise AssertionError("a request")

    monkeypatch.setattr(Environment, "medplum", no_request)
    with wave.environment.manifest.begin() as connection:
        before = len(runs.list_runs(connection, wave.environment.migration.name, 99))
    position = wave.position()
    assert [cycle(wave) for _ in range(3)] == [Cycle()] * 3
    with wave.environment.manifest.begin() as connection:
        assert len(runs.list_runs(connection, wave.environment.migration.name, 99)) == before
    assert (wave.position().id, wave.position().cycles) == (position.id, position.cycles + 3)


def test_a_deleted_row_and_one_that_leaves_are_skipped_in_the_unit_they_had(wave: SyncedWave, write: Write) -> None:
    write("DELETE FROM weight WHERE id = 0", "UPDATE weight SET unit = 'nowhere' WHERE id = 4")
    assert ends(cycle(wave)) == {"skipped": 2}
    assert [reason(wave, "weight", key) for key in "04"] == ["source-row-gone"] * 2
    assert cycle(wave) == Cycle()


def test_a_row_that_moves_to_a_loaded_wave_is_left_to_it(wave: SyncedWave, write: Write) -> None:
    write("UPDATE weight SET unit = 'south' WHERE id = 0")
    assert cycle(wave) == Cycle()
    other = synced_wave(wave.environment, "rest")
    sweep_wave(other, FREE)
    with wave.environment.manifest.begin() as connection:
        assert states_of(connection, wave.environment.migration.name, "weight", ["0"])["0"].unit == "south"


def test_what_waited_is_taken_along_when_what_it_waits_for_comes(wave: SyncedWave, write: Write) -> None:
    write("INSERT INTO weight VALUES (100, 'north', 9, 50, '2024-05-01 08:30:00', NULL)")
    assert ends(cycle(wave)) == {"quarantined": 1}
    assert cycle(wave) == Cycle()
    write("INSERT INTO patient VALUES (9, 'north', 1, 'New', '2000-01-01', 'F', NULL)")
    assert ends(cycle(wave)) == {"successful": 2}
    assert reason(wave, "weight", "100") == ""


def test_pending_and_lag_are_those_of_the_waves_own_records(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE patient SET family = 'Gunn' WHERE id = 7")
    pending = {each.entity: each.pending for each in status_of(wave).entities}
    assert (pending["patient"], pending["weight"]) == (1, 0)
    cycle(wave)
    assert sum(wave.position().ages["patient"].values()) == 1
    assert {each.pending for each in status_of(wave).entities} == {0}
    write("UPDATE patient SET family = 'Gull' WHERE id = 7")
    assert {each.pending for each in status_of(wave).entities} == {0}


def test_a_record_that_changed_again_is_one_that_is_pending(wave: SyncedWave, write: Write) -> None:
    for name in ("Adair", "Adler", "Ames"):
        write(f"UPDATE patient SET family = '{name}' WHERE id = 1")
    write("UPDATE patient SET family = 'Gunn' WHERE id = 7")  # of another wave
    assert sum(each.pending for each in status_of(wave).entities) == 3
    assert pending_records(wave) == 1
    cycle(wave)
    assert pending_records(wave) == 0


# -- kills -----------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


STEPS = [
    (cycles, "begin_run", "after"),
    (carry_out, "extract_slice", "before"),
    (carry_out, "transform_slice", "before"),
    (carry_out, "load_session", "before"),
    (carry_out, "_end", "before"),
]


@pytest.mark.parametrize(("module", "step", "when"), STEPS, ids=[name for _, name, _ in STEPS])
def test_a_kill_between_noting_and_applying_loses_nothing_and_writes_nothing_twice(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch, module: object, step: str, when: str
) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "DELETE FROM weight WHERE id = 0")
    real = getattr(module, step)

    def dies(*given: object, **more: object) -> None:
        if when == "after":
            real(*given, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, step, dies)
        if step != "_end":
            patched.setattr(carry_out, "_end", lambda *_: None)  # nobody tidies up after a kill
        with pytest.raises(Killed):
            cycle(wave)
    write("UPDATE patient SET family = 'Later' WHERE id = 2")
    cycle(wave)
    assert {key: name for key, name in families(wave.environment).items() if key in "12"} == {
        "1": "Adair",
        "2": "Later",
    }
    assert reason(wave, "weight", "0") == "source-row-gone"
    assert wave.position().state == CheckpointState.APPLIED
    assert versions(wave) == {"1": 2, "2": 2}
    assert cycle(wave) == Cycle()


def versions(wave: SyncedWave) -> dict[str, int]:
    """Key → versions of the patients 1 and 2 in Medplum."""
    system = wave.environment.migration.naming.system("patient")
    found = {}
    with wave.environment.medplum() as client:
        for key in "12":
            [patient] = client.search_all("Patient", [("identifier", f"{system}|{key}")])
            found[key] = len(client.history("Patient", patient["id"]))
    return found


def test_where_the_run_may_not_go_on_another_takes_its_keys(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(carry_out, "transform_slice", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            cycle(wave)
    first = wave.position().run_id
    rules = wave.environment.migration.folder / "terminology" / "sex.csv"
    rules.write_text(rules.read_text() + "\n")
    changed = synced_wave(
        Environment(load_migration(wave.environment.migration.folder), wave.environment.settings), "pilot"
    )
    cycle(changed)
    assert families(wave.environment)["1"] == "Adair"
    assert changed.position().run_id != first


# -- intervals of scheduled runs -------------------------------------------------------------------

DAYS = [Interval(f"2026-01-0{day}T00:00:00Z", f"2026-01-0{day + 1}T00:00:00Z") for day in range(1, 5)]


def test_a_cleared_run_repeats_its_keys_with_the_rows_as_they_are_now(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'One' WHERE id = 1")
    scheduled_cycle(wave, DAYS[0])
    write("UPDATE patient SET family = 'Two' WHERE id = 2")
    scheduled_cycle(wave, DAYS[1])
    position = wave.position()
    assert ledger(wave, scheduled_cycle(wave, DAYS[0])) == {"patient": {"unchanged": 1}}
    assert wave.position() == position
    assert versions(wave) == {"1": 2, "2": 2}


def test_an_interval_that_was_passed_over_has_no_cut(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'One' WHERE id = 1")
    scheduled_cycle(wave, DAYS[2])
    write("UPDATE patient SET family = 'Two' WHERE id = 2")
    assert scheduled_cycle(wave, DAYS[1]) == Cycle()
    assert ledger(wave, scheduled_cycle(wave, DAYS[3])) == {"patient": {"updated": 1}}


def test_an_interval_without_a_change_is_not_taken_again(wave: SyncedWave, write: Write) -> None:
    assert scheduled_cycle(wave, DAYS[0]) == Cycle()
    write("UPDATE patient SET family = 'One' WHERE id = 1")
    assert scheduled_cycle(wave, DAYS[0]) == Cycle()
    assert ends(scheduled_cycle(wave, DAYS[1])) == {"successful": 1}


# -- what is refused -------------------------------------------------------------------------------


def test_two_syncs_of_a_wave_are_refused(wave: SyncedWave) -> None:
    with wave.alone(), pytest.raises(SyncBusy, match="pilot is kept in step by another process"):
        cycle(wave)


def test_a_wave_that_was_never_loaded_or_never_swept_is_told_so(captured: Environment, loaded: Environment) -> None:
    wave = synced_wave(loaded, "pilot")
    install(loaded.capture, wave.journal)
    with pytest.raises(NeverSwept, match="medferry sweep pilot"):
        cycle(wave)
    with pytest.raises(NoSuchWave, match="Its waves: pilot, rest"):
        synced_wave(loaded, "nowhere")


def test_a_wave_of_which_only_one_unit_was_loaded_was_never_loaded(captured: Environment) -> None:
    load(captured, ["north"])
    synced_wave(captured, "pilot")
    with pytest.raises(NeverLoaded, match=r"no run of \w+ for south"):
        synced_wave(captured, "rest")


def test_without_capture_rules_there_is_no_sync(tiny: Environment) -> None:
    with pytest.raises(NoCapture, match=r"capture\.yaml"):
        synced_wave(tiny, "pilot")


def test_a_lease_of_another_run_leaves_the_cut_untaken(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    migration, position = wave.environment.migration.name, wave.position()
    with wave.environment.manifest.begin() as connection:
        leases.acquire(connection, migration, "other", ["north/patient"])
    with pytest.raises(LeaseHeld, match="Run other"):
        cycle(wave)
    assert wave.position() == position
    with wave.environment.manifest.begin() as connection:
        leases.release(connection, "other")
    assert ends(cycle(wave)) == {"successful": 1}


def test_a_lost_journal_stops_it_and_a_sweep_lets_it_go_on(wave: SyncedWave, write: Write) -> None:
    environment = wave.environment
    remove(environment.capture, wave.journal)
    write("UPDATE patient SET family = 'Unseen' WHERE id = 1")
    with pytest.raises(CaptureBroken, match="refused a statement"):
        cycle(wave)
    install(environment.capture, wave.journal)
    with pytest.raises(PositionLost, match="complete sweep"):
        cycle(wave)
    swept = sweep_wave(wave, FREE)
    assert (swept.entities["patient"].missed, swept.goes_on) == ({"1"}, True)
    assert families(environment)["1"] == "Unseen"
    write("UPDATE patient SET family = 'Seen' WHERE id = 1")
    assert ends(cycle(wave)) == {"successful": 1}
