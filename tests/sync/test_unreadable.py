"""An entity that cannot be read stops nobody but itself: its changes wait, through kills, until it can be read."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from medferry.cutover.drain import Time, cut_until, write_fence
from medferry.errors import SourceError
from medferry.source.changes.engines import install
from medferry.sync import carry_out, keys
from medferry.sync import cycle as cycles
from medferry.sync.aside import EntityUnreadable, check_readable, entities_of, refused_now
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.preview import pending_keys
from medferry.sync.status import status_of
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave, synced_wave
from medferry.workflows.sync import sync_wave
from tests.sync.conftest import FREE, Write, families
from tests.sync.test_cycle import Killed, ends, reason

GONE = "ALTER TABLE weight RENAME COLUMN kg TO kilograms"
BACK = "ALTER TABLE weight RENAME COLUMN kilograms TO kg"
CHANGES = ("UPDATE patient SET family = 'Adair' WHERE id = 1", "DELETE FROM weight WHERE id = 0")


def test_the_others_go_on_and_what_waited_is_taken_along(wave: SyncedWave, write: Write) -> None:
    write(GONE, *CHANGES)
    assert ends(cycle(wave)) == {"successful": 1}
    assert families(wave.environment)["1"] == "Adair"
    with pytest.raises(EntityUnreadable, match=r"weight, 1 change\(s\) since .*kg"):
        check_readable(wave)
    [waiting] = status_of(wave).set_aside
    assert (waiting.entity, waiting.changes) == ("weight", 1) and "kg" in waiting.problem
    write("DELETE FROM weight WHERE id = 4", "UPDATE patient SET family = 'Bell' WHERE id = 1")
    assert pending_keys(wave) == {"patient": 1}
    assert ends(cycle(wave)) == {"successful": 1}
    assert cycle(wave) == Cycle() and entities_of(wave)[0].changes == 2
    write(BACK)
    assert pending_keys(wave) == {"weight": 2}
    assert ends(cycle(wave)) == {"skipped": 2}
    assert [reason(wave, "weight", key) for key in "04"] == ["source-row-gone"] * 2
    check_readable(wave)
    assert cycle(wave) == Cycle()


def test_it_is_noticed_before_a_change_of_it_comes(wave: SyncedWave, write: Write) -> None:
    write(GONE)
    assert cycle(wave) == Cycle() and cycle(wave) == Cycle()
    [waiting] = entities_of(wave)
    assert (waiting.entity, waiting.changes) == ("weight", 1) and "kg" in waiting.problem
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE weight SET kilograms = 99 WHERE id = 0")
    assert ends(cycle(wave)) == {"successful": 1} and families(wave.environment)["1"] == "Adair"
    write(BACK)
    assert ends(cycle(wave))["successful"] > 1, "all of it is read"
    assert kilograms(wave)["0"] == 99 and entities_of(wave) == []
    assert cycle(wave) == Cycle()


def test_all_that_cannot_be_read_is_found_and_nothing_else(wave: SyncedWave, write: Write) -> None:
    away: set[str] = set()
    assert refused_now(wave) == {}
    for table, column in (("weight", "kg"), ("staff", "family"), ("clinic", "name"), ("patient", "family")):
        write(f"ALTER TABLE {table} RENAME COLUMN {column} TO away")
        away.add(table)
        assert refused_now(wave).keys() == away
    assert cycle(wave) == Cycle() and {one.entity for one in entities_of(wave)} == away


DROPPED = "DROP TRIGGER medferry_weight_update"


def test_a_dropped_trigger_stops_its_entity_alone_and_nothing_of_it_is_lost(wave: SyncedWave, write: Write) -> None:
    write(DROPPED, "UPDATE weight SET kg = 99 WHERE id = 0", "UPDATE patient SET family = 'Adair' WHERE id = 1")
    assert pending_keys(wave) == {"patient": 1}
    assert ends(cycle(wave)) == {"successful": 1}
    assert families(wave.environment)["1"] == "Adair"
    with pytest.raises(
        EntityUnreadable, match=r"weight, 1 change.*medferry_weight_update on weight is missing.*install"
    ):
        check_readable(wave)
    assert "medferry_weight_update on weight is missing" in status_of(wave).fault
    write("DELETE FROM weight WHERE id = 4", "UPDATE patient SET family = 'Bell' WHERE id = 1")
    assert ends(cycle(wave)) == {"successful": 1}, "the next one, too"
    assert cycle(wave) == Cycle() and families(wave.environment)["1"] == "Bell"
    install(wave.environment.capture, wave.journal)
    assert status_of(wave).fault == ""
    done = ends(cycle(wave))
    assert done["skipped"] == 1 and done["successful"] > 1, "all of it is read"
    assert (reason(wave, "weight", "4"), kilograms(wave)["0"]) == ("source-row-gone", 99)
    check_readable(wave)
    assert cycle(wave) == Cycle()
    assert not sweep_wave(wave, FREE).applied, "and nothing was missed"


def test_a_dropped_table_stops_its_entity_alone_and_nothing_of_it_is_lost(wave: SyncedWave, write: Write) -> None:
    kept = "CREATE TABLE kept AS SELECT * FROM weight"
    write("UPDATE weight SET kg = 99 WHERE id = 0", kept, "DROP TABLE weight", "DELETE FROM kept WHERE id = 4")
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    status = status_of(wave)
    assert "no table weight" in status.fault and {one.entity: one.pending for one in status.entities}["patient"] == 1
    assert ends(cycle(wave)) == {"successful": 1}
    with pytest.raises(EntityUnreadable, match=r"weight, 2 change\(s\) since .*no table weight"):
        check_readable(wave)
    swept = sweep_wave(wave, FREE)
    assert (list(swept.refused), swept.goes_on, swept.applied) == (["weight"], True, {})
    write("CREATE VIEW weight AS SELECT * FROM kept", "UPDATE patient SET family = 'Bell' WHERE id = 1")
    assert ends(cycle(wave)) == {"successful": 1} and families(wave.environment)["1"] == "Bell"
    write("DROP VIEW weight", "CREATE TABLE weight AS SELECT * FROM kept", "UPDATE weight SET kg = 98 WHERE id = 1")
    assert cycle(wave) == Cycle(), "its triggers are missing"
    install(wave.environment.capture, wave.journal)
    assert status_of(wave).fault == ""
    done = ends(cycle(wave))
    assert done["skipped"] == 1 and done["successful"] > 1, "all of it is read"
    weights = kilograms(wave)
    assert (reason(wave, "weight", "4"), weights["0"], weights["1"]) == ("source-row-gone", 99, 98)
    check_readable(wave)
    assert cycle(wave) == Cycle() and not sweep_wave(wave, FREE).applied


def test_a_trigger_that_was_away_between_two_cuts_is_known(wave: SyncedWave, write: Write) -> None:
    write(DROPPED, "UPDATE weight SET kg = 99 WHERE id = 0")
    install(wave.environment.capture, wave.journal)
    cycle(wave)
    assert kilograms(wave)["0"] == 99
    assert cycle(wave) == Cycle()


def kilograms(wave: SyncedWave) -> dict[str, float]:
    system = wave.environment.migration.naming.system("weight")
    with wave.environment.medplum() as client:
        found = list(client.search_all("Observation", []))
    return {
        name["value"]: one["valueQuantity"]["value"]
        for one in found
        for name in one["identifier"]
        if name["system"] == system
    }


@pytest.mark.parametrize("away", [DROPPED, GONE], ids=["trigger", "column"])
def test_a_cutover_does_not_pass_over_what_waits(wave: SyncedWave, write: Write, away: str) -> None:
    write(away)
    write_fence(wave, "t1")
    with pytest.raises(EntityUnreadable, match="weight"):
        cut_until(wave, "t1", lambda: None, Time())


def test_it_is_told_when_all_else_is_done(wave: SyncedWave, write: Write) -> None:
    write(GONE, *CHANGES)
    done: list[object] = []
    with pytest.raises(EntityUnreadable, match="weight"):
        sync_wave(wave.environment, wave.id, done.append)
    assert len(done) == 1 and families(wave.environment)["1"] == "Adair"


STEPS = [
    (cycles, "note_set_aside"),
    (cycles, "begin_run"),
    (carry_out, "extract_slice"),
    (carry_out, "transform_slice"),
    (carry_out, "_end"),
]


@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
@pytest.mark.parametrize("mended", [False, True], ids=["still", "mended"])
def test_a_kill_loses_nothing_of_what_waits(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch, module: object, step: str, mended: bool
) -> None:
    write(GONE, *CHANGES)
    if mended:
        cycle(wave)
        write(BACK, "UPDATE patient SET family = 'Bell' WHERE id = 1")

    def dies(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, step, dies)
        if step != "_end":
            patched.setattr(carry_out, "_end", lambda *_: None)
        with pytest.raises(Killed):
            cycle(wave)
    cycle(wave)
    assert families(wave.environment)["1"] == ("Bell" if mended else "Adair")
    if not mended:
        assert [one.changes for one in entities_of(wave)] == [1]
        write(BACK)
        cycle(wave)
    assert reason(wave, "weight", "0") == "source-row-gone" and entities_of(wave) == []
    assert cycle(wave) == Cycle()


def test_a_schema_that_changes_after_the_cut_was_noted_leaves_that_entity_to_wait(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE weight SET kg = 71 WHERE id = 0")
    with monkeypatch.context() as patched:
        patched.setattr(carry_out, "extract_slice", lambda *_: (_ for _ in ()).throw(Killed()))
        patched.setattr(carry_out, "_end", lambda *_: None)
        with pytest.raises(Killed):
            cycle(wave)
    write(GONE)
    assert ends(cycle(wave)) == {"successful": 1}
    assert [(one.entity, one.changes) for one in entities_of(wave)] == [("weight", 1)]
    write(BACK)
    assert ends(cycle(wave)) == {"successful": 1}
    assert entities_of(wave) == []


def test_a_row_that_cannot_be_read_is_noticed_when_it_is_staged(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key can be read; what the query makes of it cannot."""
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE weight SET kg = 71 WHERE id = 0")
    real = keys.stream_keys

    def streamed(view: sa.Connection, entity: object, *given: object) -> object:
        if getattr(entity, "name", "") == "weight":
            raise SourceError("The legacy database refused a query.")
        return real(view, entity, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(keys, "stream_keys", streamed)
        patched.setattr("medferry.stages.extract.stream_keys", streamed)
        assert ends(cycle(wave)) == {"successful": 1}
        assert [(one.entity, one.changes) for one in entities_of(wave)] == [("weight", 1)]
    assert ends(cycle(wave)) == {"successful": 1}
    assert entities_of(wave) == []


def test_a_sweep_leaves_it_out_and_everything_of_it_waits(wave: SyncedWave, write: Write) -> None:
    environment = wave.environment
    install(environment.capture, wave.journal)
    other = synced_wave(environment, "rest")
    write(GONE)
    swept = sweep_wave(other, FREE)
    assert swept.goes_on and list(swept.refused) == ["weight"]
    write("DELETE FROM weight WHERE id = 7")
    with pytest.raises(EntityUnreadable, match="weight"):
        cycle(other)
        check_readable(other)
    write(BACK)
    cycle(other)
    assert reason(wave, "weight", "7") == "source-row-gone" and entities_of(other) == []


def test_what_waits_is_no_miss_of_the_journal(wave: SyncedWave, write: Write) -> None:
    write(GONE, *CHANGES)
    cycle(wave)
    write(BACK)
    swept = sweep_wave(wave, FREE)
    assert (swept.entities["weight"].missed, swept.applied) == (set(), {"skipped": 1})
    cycle(wave)
    assert entities_of(wave) == []
