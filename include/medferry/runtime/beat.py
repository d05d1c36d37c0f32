"""An act every few seconds beside other work, by a thread of its own, whatever that work waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beating(name: str, seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Until the end of the context. `name` is the thread's; what `act` raises ends the beat."""
    ended = threading.Event()

    def beats() -> None:
        while not ended.wait(seconds):
            act()

    thread = threading.Thread(target=beats, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
