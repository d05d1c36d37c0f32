"""What a run is. Light: the DAG files name it."""

from __future__ import annotations

from enum import StrEnum


class RunKind(StrEnum):
    """What a run is, as it is kept and shown; of the command line's waves the id stands behind it."""

    WHOLE = "run"
    """Of the command line: everything, or chosen units."""
    BIG_BANG = "big_bang"
    WAVE = "wave"
    REPLAY = "replay"
    SYNC = "sync"
    """A cut of a wave's changes; the wave's id stands behind it."""
    HISTORY = "history"
    """A period of a wave's records; the wave's id stands behind it."""


def wave_of_kind(kind: str) -> str:
    """The wave of a run of the synchronisation, by its kind."""
    return kind.removeprefix(f"{RunKind.SYNC}_")
