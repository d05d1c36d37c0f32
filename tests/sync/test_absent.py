"""What Medplum does not show is not what somebody deleted: no legacy row goes for it, whatever the plan says."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from medferry.manifest import held_back
from medferry.medplum.client import MedplumClient
from medferry.plan.model import DeletedPolicy
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from tests.sync.test_merge import User, user
from tests.sync.test_reverse_cycle import both, deleting, held, looked_at_again

__all__ = ["both", "user"]


@pytest.mark.parametrize("policy", [DeletedPolicy.REMOVE, DeletedPolicy.INACTIVATE])
def test_rows_stay_where_medplum_has_not_their_resources_and_says_of_none_that_it_was_deleted(
    both: SyncedWave, user: User, monkeypatch: pytest.MonkeyPatch, policy: DeletedPolicy
) -> None:
    wave = deleting(both, policy)
    with wave.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{user.patient['id']}"}}], 100)
    real = MedplumClient.read_each
    with monkeypatch.context() as patched:  # as of an expunged one, or behind an access policy: 404 in place of 410
        patched.setattr(MedplumClient, "read_each", lambda self, names, *_: real(self, names))
        looked_at_again(wave)
        assert not back_cycle(wave).removed
    assert held(wave) == {("1", "", "deleted-in-medplum")}
    with wave.environment.manifest.begin() as connection:
        assert connection.scalar(sa.select(held_back.held_back.c.detail)) == "not found (404)"
    looked_at_again(wave)
    assert back_cycle(wave).removed == {"patient": 1}
