"""The parts of a position in the journal: `epoch@place#anchor`, each opaque to whoever keeps it."""

from __future__ import annotations

import sqlalchemy as sa


def place_of(position: str) -> str:
    """The engine's own position within one that was kept: behind the epoch, before the anchor."""
    return position.partition("@")[2].partition("#")[0]


def anchor_of(position: str) -> tuple[int, str] | None:
    """(id, time as text) of the journal's row that has to stay there, as long as a wave goes on from the position.

    Of several rows with that id and time any one will do. None: the journal had no row.
    """
    number, _, at = position.partition("#")[2].partition(" ")
    return (int(number), at) if number else None


def stands(connection: sa.Connection, journal: str, time: str, anchor: tuple[int, str]) -> bool:
    """Whether a row of an id and a time is there: an emptied journal may count anew, and ids may be shared."""
    rows = sa.text(f"SELECT count(*) FROM {journal} WHERE id = :number AND {time} = :at")
    return bool(connection.scalar(rows, dict(zip(("number", "at"), anchor, strict=True))))
