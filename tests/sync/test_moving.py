"""A record that changes its wave between an edit and the next cycle: the edit is not lost."""

from __future__ import annotations

import pytest

from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import FREE, Write, written_back
from tests.sync.test_merge import User, user
from tests.sync.test_reverse_cycle import both, looked_at_again, row

__all__ = ["both", "user"]


@pytest.fixture
def other(both: SyncedWave) -> SyncedWave:
    """The second wave of the same platform, in step as well."""
    other = written_back(both.environment, "rest")
    sweep_wave(other, FREE)
    back_cycle(other)
    return other


def test_what_was_merged_before_its_row_moved_reaches_the_row(
    both: SyncedWave, other: SyncedWave, write: Write, user: User
) -> None:
    """Neither wave's poll is its own: the one has left it, the other does not know it yet. The sweep finds it."""
    user.rename("Baker")
    write("UPDATE patient SET sex = 'M' WHERE id = 1")
    cycle(both)
    write("UPDATE patient SET unit = 'south' WHERE id = 1")
    for wave in (both, other):
        assert not back_cycle(wave).written
    cycle(other)
    looked_at_again(other)
    assert back_cycle(other).written == {"patient": 1}
    assert row(other) == ("Baker", "1970-02-03", "M")
    looked_at_again(other)
    assert not back_cycle(other).written
