"""A record, or a whole unit, that changes its wave between an edit and the next cycle: the edit is not lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medferry.runtime.environment import Environment
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.status import status_of
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import NeverSwept, SyncedWave
from tests.sync.conftest import FREE, Write, families, written_back
from tests.sync.test_merge import User, rename, user
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


def with_units(environment: Environment, **units: list[str]) -> Environment:
    """The same platform, whose plan has other units in its waves."""
    plan = environment.migration.plan
    waves = [one.model_copy(update={"units": units[one.id]}) for one in plan.waves]
    return replace(environment, migration=replace(environment.migration, plan=plan.model_copy(update={"waves": waves})))


def test_of_a_unit_that_joins_a_wave_nothing_has_gone_by(wave: SyncedWave, write: Write) -> None:
    """The wave's cuts have passed over what was changed there before, and no other wave has it any more."""
    rest = SyncedWave(wave.environment, "rest")
    sweep_wave(rest, FREE)
    write(rename("Adair"))
    cycle(rest)
    joined = SyncedWave(with_units(wave.environment, pilot=[], rest=["north", "south"]), "rest")
    for missing in (None, "patient"):
        with pytest.raises(NeverSwept, match="not kept in step with north"):
            cycle(joined)
        assert "north joined" in status_of(joined).fault
        if missing:
            sweep_wave(joined, FREE, [missing])
    assert families(joined.environment)["1"] == "Adair", "that one entity was swept; the unit is in step with all of it"
    write("UPDATE weight SET kg = 70 WHERE id = 0")
    sweep_wave(joined, FREE)
    assert status_of(joined).fault == ""
    assert cycle(joined).records == 1
    assert cycle(joined) == Cycle()
    assert cycle(rest) == Cycle(), "a unit that leaves needs nothing"
    with pytest.raises(NeverSwept):
        cycle(joined)
