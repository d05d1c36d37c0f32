"""A Medplum that is restored from a backup while the synchronisation goes on: what it has again is no user's edit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.plan.model import DeletedPolicy
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import BackCycle, back_cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write, load
from tests.sync.test_cycle import ends
from tests.sync.test_merge import PHONE, User, rename, user
from tests.sync.test_reverse_cycle import both, deleting, held, looked_at_again, row

__all__ = ["both", "user"]

UNTOLD = {("1", "", "no-certain-base")}


@pytest.fixture
def medplum(tmp_path: Path) -> Iterator[EmbeddedMedplum]:
    """One that keeps its data in a file."""
    with EmbeddedMedplum(data=tmp_path / "medplum.db", faults=True, quota=1_000_000_000) as server:
        yield server


@dataclass(frozen=True)
class Backup:
    """Of the data of a Medplum, the newest that was taken."""

    medplum: EmbeddedMedplum
    folder: Path

    def take(self) -> None:
        self.medplum.stop()
        shutil.copy(self.folder / "medplum.db", self.folder / "backup.db")
        self.medplum.start()

    def restore(self) -> None:
        self.medplum.stop()
        for file in self.folder.glob("medplum.db*"):
            file.unlink()
        shutil.copy(self.folder / "backup.db", self.folder / "medplum.db")
        self.medplum.start()


@pytest.fixture
def backup(medplum: EmbeddedMedplum, both: SyncedWave, tmp_path: Path) -> Backup:
    """Taken when both sides said the same."""
    backup = Backup(medplum, tmp_path)
    backup.take()
    return backup


def look(wave: SyncedWave) -> BackCycle:
    """At everything in Medplum, as a cycle does in turns."""
    looked_at_again(wave)
    return back_cycle(wave)


def test_what_the_legacy_users_had_corrected_since_stays(
    both: SyncedWave, write: Write, user: User, backup: Backup
) -> None:
    write("UPDATE patient SET family = 'Adair', born = '1971-07-07' WHERE id = 1")
    assert ends(cycle(both)) == {"successful": 1}
    backup.restore()
    assert user.content == {"family": "Ada", "birthDate": "1970-02-03", "gender": "female"}
    for _ in range(2):
        assert not look(both).written
        assert (row(both), held(both)) == (("Adair", "1971-07-07", "F"), UNTOLD)
        assert ends(cycle(both)) == {}, "nor is there anything to settle, a run a minute"

    user.put(gender="male")  # who edits what was restored says all that stands there
    assert not look(both).written
    assert (row(both), held(both)) == (("Adair", "1971-07-07", "F"), UNTOLD)

    load(both.environment, None, overwrite=True)
    assert user.content == {"family": "Adair", "birthDate": "1971-07-07", "gender": "female"}
    assert not look(both).written
    assert held(both) == set()
    user.put(gender="male")
    assert look(both).written == {"patient": 1}
    assert row(both) == ("Adair", "1971-07-07", "M")


def test_what_medplums_users_had_changed_since_stays_in_the_rows(
    both: SyncedWave, write: Write, user: User, backup: Backup
) -> None:
    user.put(birthDate="1971-01-01", **PHONE)
    assert back_cycle(both).written
    write(rename("Adair"))  # into what a user has changed: no version is what the mapping made
    cycle(both)
    backup.restore()
    assert not look(both).written
    write("UPDATE patient SET sex = 'M' WHERE id = 1")
    assert ends(cycle(both)) == {"quarantined": 1}, "both sides differ now from what was agreed on"
    assert not look(both).written
    assert (row(both), held(both)) == (("Adair", "1971-01-01", "M"), UNTOLD)


def test_what_was_made_in_an_older_version_is_no_base_of_what_stands_there_again(
    both: SyncedWave, write: Write, user: User, backup: Backup
) -> None:
    user.put(**PHONE)
    write(rename("Adair"))
    cycle(both)
    user.put(birthDate="1971-01-01")
    assert back_cycle(both).written
    backup.take()
    user.put(birthDate="1970-02-03")
    assert back_cycle(both).written
    backup.restore()
    write("UPDATE patient SET sex = 'M' WHERE id = 1")
    assert ends(cycle(both)) == {"quarantined": 1}
    assert not look(both).written
    assert row(both) == ("Adair", "1970-02-03", "M")


@pytest.mark.parametrize("policy", [DeletedPolicy.REMOVE, DeletedPolicy.INACTIVATE])
def test_a_deletion_that_was_taken_back_since_takes_no_row_along(
    both: SyncedWave, user: User, backup: Backup, policy: DeletedPolicy
) -> None:
    patient = {name: value for name, value in user.patient.items() if name != "meta"}
    place = {"url": f"Patient/{patient['id']}"}
    with both.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", **place}}], 100)
        backup.take()
        put = {"resource": {**patient, "birthDate": "1971-01-01"}, "request": {"method": "PUT", **place}}
        assert [one.done for one in client.batch([put], 100)] == [True]
    wave = deleting(both, policy)
    assert look(wave).written == {"patient": 1}
    backup.restore()
    assert not look(wave).removed
    assert (row(wave), held(wave)) == (("Ada", "1971-01-01", "F"), UNTOLD)
