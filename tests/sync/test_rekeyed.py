"""A wave whose keys are made of something else writes nothing, in Medplum and in the legacy database."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from medferry.runtime.continuing import Rekeyed
from medferry.runtime.environment import Environment
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from medferry.workflows.sync import checked_wave
from tests.sync.conftest import Write, families, written_back
from tests.sync.test_merge import User, rename, user
from tests.sync.test_reverse_cycle import row

__all__ = ["user"]


def rekeyed(wave: SyncedWave) -> SyncedWave:
    """Patients 1 and 8 have changed places: each has the other's key."""
    migration = wave.environment.migration
    entity = migration.entities["patient"]
    other = replace(entity, sql=entity.sql.replace("SELECT id,", "SELECT 9 - id AS id,"))
    entities = {**migration.entities, "patient": other}
    return SyncedWave(Environment(replace(migration, entities=entities), wave.environment.settings), wave.id)


def test_keys_that_are_others_reach_neither_system(wave: SyncedWave, write: Write, user: User) -> None:
    both = written_back(wave.environment, wave.id)
    back_cycle(both)
    before = [row(both, number) for number in (1, 8)]
    other = rekeyed(both)
    user.put(birthDate="1971-01-01")
    write(rename("Adair"))
    for act in (partial(checked_wave, other.environment, other.id), partial(cycle, other), partial(back_cycle, other)):
        with pytest.raises(
            Rekeyed, match=r"of patient\.id when its records were loaded, and is made of 9 - patient\.id"
        ):
            act()
    assert families(both.environment)["1"] == "Ada"
    assert [row(both, 1), row(both, 8)] == [("Adair", *before[0][1:]), before[1]]
    cycle(both)
    assert back_cycle(both).written
    assert families(both.environment)["1"] == "Adair" and row(both)[:2] == ("Adair", "1971-01-01")
