"""The parts of a position in the journal: `epoch@place#anchor`, each opaque to whoever keeps it."""

from __future__ import annotations


def place_of(position: str) -> str:
    """The engine's own position within one that was kept: behind the epoch, before the anchor."""
    return position.partition("@")[2].partition("#")[0]


def anchor_of(position: str) -> tuple[int, str] | None:
    """(id, time as text) of the journal's row that has to stay there, as long as a wave goes on from the position.

    Of several rows with that id and time any one will do. None: the journal had no row.
    """
    number, _, at = position.partition("#")[2].partition(" ")
    return (int(number), at) if number else None
