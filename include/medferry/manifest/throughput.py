"""How many entries a run has sent to Medplum, second by second."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.tables import attempt


@dataclass(frozen=True, slots=True)
class Second:
    """Entries sent in one second of a run (UTC): done by Medplum, and refused or without an answer."""

    at: str
    done: int
    failed: int


def seconds(connection: sa.Connection, run_id: str) -> list[Second]:
    """The seconds in which a run sent anything, in order."""
    at = sa.func.substr(attempt.c.at, 1, 19)
    good = sa.func.sum(sa.case((attempt.c.status.between(200, 299), 1), else_=0))
    statement = sa.select(at, good, sa.func.count()).where(attempt.c.run_id == run_id).group_by(at).order_by(at)
    return [Second(str(when), int(done), int(sent - done)) for when, done, sent in connection.execute(statement)]
