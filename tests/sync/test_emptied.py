"""A journal that others emptied is told: changes may have gone by."""

from __future__ import annotations

import pytest

from medferry.manifest import checkpoints
from medferry.source.changes.engines import install
from medferry.source.changes.journal import CaptureBroken, PositionLost
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.pruning import prune
from medferry.sync.status import status_of
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import FREE, Write, families
from tests.sync.test_cycle import ends

EMPTIED = {
    "deleted": ("DELETE FROM medferry_change",),
    "counts anew": (
        "DELETE FROM medferry_change",
        "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'medferry_change'",
        "INSERT INTO medferry_change (entity, key, op, at) "
        "VALUES ('patient', '2', 'U', '2030-01-01 00:00:00'), ('patient', '2', 'U', '2030-01-01 00:00:00')",
    ),
}


@pytest.mark.parametrize("how", EMPTIED)
def test_an_emptied_journal_is_told_and_a_sweep_brings_what_went_by(wave: SyncedWave, write: Write, how: str) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    assert ends(cycle(wave)) == {"successful": 1}
    write("UPDATE patient SET family = 'Unseen' WHERE id = 1", *EMPTIED[how])
    write("UPDATE patient SET family = 'After' WHERE id = 2")
    with pytest.raises(PositionLost, match="Rows of the journal were deleted by others"):
        cycle(wave)
    assert "sweep pilot" in status_of(wave).fault
    swept = sweep_wave(wave, FREE)
    assert swept.goes_on and "1" in swept.entities["patient"].missed
    cycle(wave)
    assert {key: name for key, name in families(wave.environment).items() if key in "12"} == {
        "1": "Unseen",
        "2": "After",
    }
    assert status_of(wave).fault == "" and cycle(wave) == Cycle()


@pytest.mark.parametrize("how", EMPTIED)
def test_a_journal_that_is_emptied_before_its_first_change_was_taken_is_told(
    wave: SyncedWave, write: Write, how: str
) -> None:
    assert cycle(wave) == Cycle()
    write("UPDATE patient SET family = 'Unseen' WHERE id = 1", *EMPTIED[how])
    write("UPDATE patient SET family = 'After' WHERE id = 2")
    with pytest.raises(PositionLost, match="Rows of the journal were deleted by others"):
        cycle(wave)
    assert "1" in sweep_wave(wave, FREE).entities["patient"].missed


def test_an_empty_journal_is_mended_before_a_sweep_can_give_a_position(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'Unseen' WHERE id = 1", "DELETE FROM medferry_change")
    assert "journal is empty" in status_of(wave).fault
    for attempt in (lambda: cycle(wave), lambda: sweep_wave(wave, FREE)):
        with pytest.raises(CaptureBroken, match=r"journal is empty.*capture install.*complete sweep"):
            attempt()
    assert install(wave.environment.capture, wave.journal) and install(wave.environment.capture, wave.journal) == []
    with pytest.raises(PositionLost):
        cycle(wave)
    assert "1" in sweep_wave(wave, FREE).entities["patient"].missed
    write("UPDATE patient SET family = 'Again' WHERE id = 1", "DELETE FROM medferry_change")
    write("UPDATE patient SET family = 'After' WHERE id = 2")
    with pytest.raises(PositionLost):
        cycle(wave)


def test_a_position_that_an_earlier_version_noted_of_an_empty_journal_goes_on(wave: SyncedWave, write: Write) -> None:
    last = wave.position()
    with wave.environment.manifest.begin() as connection:
        checkpoints.move_on(connection, last.id, last.position_to.partition("#")[0])
    write("DELETE FROM medferry_change")
    assert cycle(wave) == Cycle() and "#" not in wave.position().position_to
    assert install(wave.environment.capture, wave.journal)
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    assert ends(cycle(wave)) == {"successful": 1}
    assert "#" in wave.position().position_to and prune(wave.environment, 0) >= 0 and cycle(wave) == Cycle()


def test_what_is_pruned_is_no_loss(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE patient SET family = 'Bell' WHERE id = 2")
    cycle(wave)
    old = "2020-01-01 00:00:00"
    write(f"UPDATE medferry_change SET at = '{old}'")  # that with which it begins, too
    last = wave.position()
    aged = last.position_to.replace(last.position_to.partition(" ")[2], old)
    with wave.environment.manifest.begin() as connection:
        checkpoints.move_on(connection, last.id, aged)
    assert prune(wave.environment, 1) > 0
    write("UPDATE patient SET family = 'Cole' WHERE id = 1")
    assert ends(cycle(wave)) == {"successful": 1}
    assert prune(wave.environment, 1) == 1, "the row that the former position ended with"
    assert cycle(wave) == Cycle()
