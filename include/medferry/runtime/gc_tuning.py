"""Python's garbage collector, made rare while many resources go by.

Resources are trees: reference counting frees each as soon as it is done with. The collector looks for cycles and finds
none, again and again, in everything that was ever imported; that was a third of a load's time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (50_000, 20, 100)
"""Still often enough to free the few cycles there are (closed connections, errors with their frames)."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely until the end of the block, and leave out what exists at its beginning."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
