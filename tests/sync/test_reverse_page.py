"""A page of changes: our own writes as versions, all else whole, and nothing that is new lost between two searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from medferry.medplum.changes import Change, whole_changes
from medferry.medplum.client import MedplumClient
from medferry.sync import reverse_page
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write
from tests.sync.taking_births import births_wave, rows
from tests.sync.test_births import Users
from tests.sync.test_merge import User, user
from tests.sync.test_reverse_cycle import both, held, row

__all__ = ["both", "user"]


class Searches:
    """What is asked for whole; `shown` is what comes of an answer."""

    def __init__(self, shown: str = "all") -> None:
        self.shown = shown
        self.ids = list[str]()

    def __call__(self, client: MedplumClient, resource_type: str, ids: Sequence[str]) -> list[Change]:
        self.ids += ids
        found = whole_changes(client, resource_type, ids)
        if self.shown == "none":
            return []
        earlier = {"former": 1, "of the same millisecond": 0}
        if self.shown not in earlier:
            return found
        return [replace(one, version_id="0", at=one.at - earlier[self.shown], resource={}) for one in found]


def test_our_own_writes_are_not_asked_for_whole(
    both: SyncedWave, user: User, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverse_page, "whole_changes", searches := Searches())
    write("UPDATE patient SET family = 'Mine' WHERE id IN (1, 2, 3)")
    cycle(both)
    back_cycle(both)
    assert searches.ids == []
    user.rename("Baker")
    assert back_cycle(both).written == {"patient": 1}
    assert searches.ids == [user.patient["id"]]


@pytest.mark.parametrize("shown", ["none", "former", "of the same millisecond"])
def test_what_the_next_search_does_not_show_is_read_as_a_page(
    both: SyncedWave, user: User, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverse_page, "whole_changes", Searches(shown))
    user.rename("Baker")
    assert back_cycle(both).written == {"patient": 1}
    assert (row(both)[0], held(both)) == ("Baker", set())


@pytest.mark.parametrize("shown", ["none", "former", "of the same millisecond"])
def test_so_is_a_birth_that_it_does_not_show(wave: SyncedWave, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taking = births_wave(wave)
    monkeypatch.setattr(reverse_page, "whole_changes", Searches(shown))
    Users(taking).create()
    assert back_cycle(taking).born == {"Patient": 1}
    assert len(rows(taking)) == 1
