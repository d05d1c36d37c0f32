"""The garbage collector is left as it was found."""

from __future__ import annotations

import gc

import pytest

from medferry.runtime.gc_tuning import rare_collections


def test_collections_are_rare_inside_and_as_before_outside() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), rare_collections():
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.get_freeze_count() > 0
        raise KeyError
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
