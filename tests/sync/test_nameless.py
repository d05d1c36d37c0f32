"""A user takes our identifier away from a resource: it is known by its id, and gets it back; it is never made twice."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.sync.cycle import Cycle, cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write
from tests.sync.test_cycle import ends, reason
from tests.sync.test_merge import User, faults, rename, user
from tests.sync.test_reverse_cycle import both, held, row

__all__ = ["both", "user"]

OTHER = {"system": "https://elsewhere", "value": "7"}


def patients(wave: SyncedWave) -> int:
    with wave.environment.medplum() as client:
        return len(list(client.search_all("Patient", [])))


def without_name(wave: SyncedWave, user: User, **members: Any) -> str:
    """Take it away, and change some members; returns the id."""
    present = user.patient
    identifiers = [one for one in present["identifier"] if one["system"] != user.system] + [OTHER]
    user.put(identifier=identifiers, **members)
    return str(present["id"])


@pytest.mark.parametrize("changed", [False, True], ids=["alone", "with an edit"])
def test_the_next_cycle_both_ways_puts_it_back(both: SyncedWave, user: User, changed: bool) -> None:
    before = patients(both)
    place = without_name(both, user, **({"name": [{"family": "Baker"}]} if changed else {}))
    for _ in range(2):
        back_cycle(both)
        cycle(both)
    again = user.patient
    assert (again["id"], patients(both), OTHER in again["identifier"]) == (place, before, True)
    assert row(both)[0] == again["name"][0]["family"] == ("Baker" if changed else "Ada")
    told = {("1", "identifier[https://elsewhere]", "no-place")}
    assert (reason(both, "patient", "1"), held(both), faults(both.environment)) == ("", told, set())
    versions = user.versions()
    back_cycle(both)
    assert (cycle(both), user.versions()) == (Cycle(), versions)


def test_a_row_that_changes_finds_it_by_its_id(wave: SyncedWave, write: Write, user: User) -> None:
    before = patients(wave)
    place = without_name(wave, user)
    write(rename("Adair"))
    assert ends(cycle(wave)) == {"successful": 1}
    again = user.patient
    assert (again["id"], again["name"][0]["family"], patients(wave)) == (place, "Adair", before)
    assert OTHER in again["identifier"] and cycle(wave) == Cycle()
