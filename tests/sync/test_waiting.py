"""What a person is to decide about is looked at again: whoever changed or deleted a resource may take it back."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.tables import unit_state
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write
from tests.sync.test_cycle import ends, reason
from tests.sync.test_merge import User, rename, user

__all__ = ["user"]


def an_hour_later(wave: SyncedWave) -> None:
    """As if everything had been decided long ago."""
    with wave.environment.manifest.begin() as connection:
        connection.execute(sa.update(unit_state).values(decided_at="2020-01-01T00:00:00.000Z"))


def test_a_change_that_was_taken_back_holds_nothing_back(wave: SyncedWave, write: Write, user: User) -> None:
    before = user.content["family"]
    user.rename("Baker")
    write(rename("Adair"))
    assert ends(cycle(wave)) == {"quarantined": 1}
    user.rename(before)
    assert cycle(wave) == Cycle()
    an_hour_later(wave)
    assert ends(cycle(wave)) == {"successful": 1}
    assert (user.content["family"], reason(wave, "patient", "1")) == ("Adair", "")
    an_hour_later(wave)
    assert cycle(wave) == Cycle()


def test_what_was_restored_gets_what_the_row_has_become(wave: SyncedWave, write: Write, user: User) -> None:
    deleted = user.patient
    with wave.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{deleted['id']}"}}], 100)
    write(rename("Adair"))
    assert ends(cycle(wave)) == {"quarantined": 1}
    an_hour_later(wave)
    assert ends(cycle(wave)) == {"quarantined": 1}
    assert cycle(wave) == Cycle(), "not in every cycle"
    with wave.environment.medplum() as client:
        client.batch([{"resource": deleted, "request": {"method": "PUT", "url": f"Patient/{deleted['id']}"}}], 100)
    an_hour_later(wave)
    assert ends(cycle(wave)) == {"successful": 1}
    assert user.content["family"] == "Adair"
