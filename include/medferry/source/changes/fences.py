"""A row of the journal that stands for a moment: what was committed before it is in no later cut than it is."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.source.changes.journal import CHANGE, FENCE, Journal, PositionLost
from medferry.source.changes.positions import place_of


def add_fence(journal: Journal, connection: sa.Connection, token: str) -> None:
    """To be done in a transaction of its own."""
    connection.execute(sa.text(journal.fence(":token")), {"token": token})


def has_passed(journal: Journal, connection: sa.Connection, position: str, token: str) -> bool:
    """Whether a fence lies before a position. Raises PositionLost when it is not in the journal any more."""
    fence = f"FROM {CHANGE} WHERE entity = '{FENCE}' AND {journal.key} = :token"
    if not connection.scalar(sa.text(f"SELECT count(*) {fence}"), {"token": token}):
        raise PositionLost("A fence is gone from the journal of changes.", "Begin the cutover anew.")
    condition, values = journal.behind(place_of(position))
    behind = sa.text(f"SELECT count(*) {fence} AND {condition}")
    return not connection.scalar(behind, {"token": token, **values})
