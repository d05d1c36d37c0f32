"""A write-back of which the end is not known, and a row that cannot be read now: only that entity stands still."""

from __future__ import annotations

import pytest

from medferry.manifest.write_backs import open_write_backs
from medferry.sync.aside import entities_of
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write
from tests.sync.test_cycle import Killed, ends, reason
from tests.sync.test_merge import User, faults, user
from tests.sync.test_reverse_cycle import both, held, killed, log_of, looked_at_again, row

__all__ = ["both", "user"]


@pytest.mark.parametrize("after", [False, True], ids=["not written", "written"])
def test_an_open_note_of_an_unreadable_entity_stops_neither_way(
    both: SyncedWave, write: Write, user: User, after: bool
) -> None:
    before = log_of(both)
    user.rename("Baker")
    with killed("write_rows", 1, after), pytest.raises(Killed):
        back_cycle(both)
    write("ALTER TABLE patient RENAME COLUMN born TO birth", "UPDATE weight SET kg = 71 WHERE id = 0")
    assert ends(cycle(both)) == {"successful": 1}
    assert not back_cycle(both).written
    assert held(both) == {("1", "", "entity-set-aside")}
    assert [one.entity for one in entities_of(both)] == ["patient"]
    with both.environment.manifest.begin() as connection:
        assert len(open_write_backs(connection, "tiny", both.id)) == 1
    write("ALTER TABLE patient RENAME COLUMN birth TO born")
    cycle(both)
    looked_at_again(both)
    back_cycle(both)
    cycle(both)
    assert (row(both)[0], log_of(both) - before, reason(both, "patient", "1")) == ("Baker", 2, "")
    assert (held(both), entities_of(both), user.versions()) == (set(), [], 2)
    with both.environment.manifest.begin() as connection:
        assert open_write_backs(connection, "tiny", both.id) == []
    assert faults(both.environment) == set()
