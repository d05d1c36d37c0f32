"""Python's garbage collector, made rare while many resources go by.

Resources are trees: reference counting frees each as soon as it is done with. The collector looks for cycles and finds
none, again and again, in everything that was ever imported; that was a third of a load's time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_THRESHOLDS = (50_000, 20, 100)
"""Still often enough to free the few cycles there are (closed connections, errors with their frames)."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely until the end of the block, and leave out what existed at the first one's beginning."""
    before = gc.get_threshold()
    _leave_out_what_exists()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@cache
def _leave_out_what_exists() -> None:
    """Once in a process: each freeze begins the collector's counts anew.

    With its undoing, it would also hand what has become garbage meanwhile to the oldest generation, whose turn
    then never comes: a synchronisation that runs for days would grow.
    """
    gc.freeze()
