"""A manifest that was restored from a backup, in place of the one of today, while both systems are written."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from medferry.runtime import claim
from medferry.runtime.continuing import OlderManifest
from medferry.runtime.systems import accept_systems, check_systems
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave
from tests.copied_manifest import copied_manifest
from tests.sync.conftest import FREE, Write, families, written_back
from tests.sync.test_cycle import ends
from tests.sync.test_merge import PHONE, User, rename, user
from tests.sync.test_reverse_cycle import held, row

__all__ = ["user"]


@pytest.fixture
def both(wave: SyncedWave, monkeypatch: pytest.MonkeyPatch) -> SyncedWave:
    monkeypatch.setattr(claim, "_MARKED_FOR", 0.0)
    both = written_back(wave.environment, wave.id)
    back_cycle(both)
    return both


def test_an_older_manifest_takes_over_when_it_is_accepted_and_writes_nothing_over(
    both: SyncedWave, write: Write, user: User, tmp_path: Path
) -> None:
    older = SyncedWave(copied_manifest(both.environment, tmp_path / "backup.db"), both.id)
    write(rename("Adair"), "UPDATE patient SET family = 'Second' WHERE id = 2")
    cycle(both)
    user.put(birthDate="1971-01-01", **PHONE)
    back_cycle(both)
    write("INSERT INTO patient VALUES (90, 'north', 1, 'Born', '1980-01-02', 'F', NULL)")
    cycle(both)
    assert row(both) == ("Adair", "1971-01-01", "F"), "that is what the backup does not know"

    # Nobody carries these over before the manifest is lost.
    write("UPDATE patient SET born = '1966-06-06' WHERE id = 2")
    user.put(birthDate="1972-02-02", **PHONE)
    for refused in (partial(check_systems, older.environment, dry=False), partial(cycle, older)):
        with pytest.raises(OlderManifest):
            refused()
    accept_systems(older.environment)
    assert ends(cycle(older)) == {"successful": 2, "quarantined": 1}, "2 and 90; what both sides changed is a person's"
    assert not back_cycle(older).written
    sweep_wave(older, FREE)
    cycle(older)

    assert families(both.environment) == {"1": "Adair", "2": "Second", "8": "Hal", "90": "Born"}
    assert row(both, 2) == ("Second", "1966-06-06", "M")
    assert user.content == {"family": "Adair", "birthDate": "1972-02-02", "gender": "female", **PHONE}
    assert row(both) == ("Adair", "1971-01-01", "F")
    assert held(older) == {("1", "birthDate", "conflict")}, "of either value the backup knows nothing"
    with pytest.raises(OlderManifest):
        cycle(both)


def test_what_is_only_written_back_is_marked_too(both: SyncedWave, user: User, tmp_path: Path) -> None:
    """As after a flip: nothing is loaded any more, for weeks."""
    older = SyncedWave(copied_manifest(both.environment, tmp_path / "backup.db"), both.id)
    user.put(birthDate="1971-01-01", **PHONE)
    assert back_cycle(both).written
    for refused in (partial(check_systems, older.environment, dry=False), partial(back_cycle, older)):
        with pytest.raises(OlderManifest):
            refused()
    assert row(both) == ("Ada", "1971-01-01", "F")
