"""Whether somebody has stopped all writing of a migration: the newest decision, which whoever begins to write asks."""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest import audit, decisions
from medferry.manifest.decisions import Decision, RecordedDecision, digest_of
from medferry.manifest.tables import run


class PanicState(StrEnum):
    """What a person has said of a migration's writing."""

    HELD = "held"
    LIFTED = "lifted"


class Panicked(MedferryError):
    """A named person has stopped the writing of all waves. Trying again does not help before it is lifted."""


def panic_of(connection: sa.Connection, migration: str) -> RecordedDecision | None:
    """Who stopped the writing, when and why; None: nobody, or it was lifted."""
    name = _subject(migration)
    last = decisions.newest(connection, [name]).get(name)
    return last if last is not None and last.decision.verdict == PanicState.HELD else None


def check_no_panic(connection: sa.Connection, migration: str) -> None:
    """To be called by whoever begins to write. Raises Panicked."""
    held = panic_of(connection, migration)
    if held is not None:
        raise Panicked(
            f"{held.decision.person} has stopped all writing of {migration} since {held.at}.",
            "Read why (`medferry panic`), and lift it when it may go on: `medferry panic --lift`.",
        )


def record_panic(connection: sa.Connection, migration: str, state: PanicState, person: str, reason: str) -> bool:
    """Append what a person says, unless that is so already; returns whether anything was said anew."""
    audit.lock(connection)  # two who say it at once say it once
    if (panic_of(connection, migration) is not None) == (state is PanicState.HELD):
        return False
    decision = Decision(state, person.strip(), reason.strip()[:1000])
    decisions.record(connection, _subject(migration), digest_of(migration), decision)
    return True


def unfinished_runs(connection: sa.Connection, migration: str) -> list[str]:
    """The ids of a migration's runs of whatever kind that have not ended."""
    return list(
        connection.scalars(sa.select(run.c.id).where(run.c.migration == migration, run.c.finished_at.is_(None)))
    )


def _subject(migration: str) -> str:
    return f"panic/{migration}"
