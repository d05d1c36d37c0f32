"""A journal that others emptied is told: changes may have gone by."""

from __future__ import annotations

import pytest

from medferry.manifest import checkpoints
from medferry.source.changes.journal import PositionLost
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
        "INSERT INTO medferry_change (entity, key, op, at) VALUES ('patient', '2', 'U', '2030-01-01 00:00:00')",
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


def test_what_is_pruned_is_no_loss(wave: SyncedWave, write: Write) -> None:
    write("UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE patient SET family = 'Bell' WHERE id = 2")
    cycle(wave)
    old = "2020-01-01 00:00:00"
    write(f"UPDATE medferry_change SET at = '{old}'")
    last = wave.position()
    aged = last.position_to.replace(last.position_to.partition(" ")[2], old)
    with wave.environment.manifest.begin() as connection:
        checkpoints.move_on(connection, last.id, aged)
    assert prune(wave.environment, 1) > 0
    write("UPDATE patient SET family = 'Cole' WHERE id = 1")
    assert ends(cycle(wave)) == {"successful": 1}
    assert prune(wave.environment, 1) == 1, "the row that the former position ended with"
    assert cycle(wave) == Cycle()
