"""The garbage collector is left as it was found, and what is garbage goes in the end."""

from __future__ import annotations

import gc
import weakref

import pytest

from medferry.runtime.gc_tuning import rare_collections


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_collections_are_rare_inside_and_as_before_outside() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), rare_collections():
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.get_freeze_count() > 0
        raise KeyError
    assert gc.get_threshold() == before


def test_a_process_that_loads_again_and_again_does_not_grow() -> None:
    made: list[weakref.ref[_Cycle]] = []
    for _ in range(1_000):
        held = [_Cycle() for _ in range(500)]
        made += map(weakref.ref, held)
        with rare_collections():
            pass
        held.clear()
    assert sum(one() is not None for one in made) < len(made) / 4
