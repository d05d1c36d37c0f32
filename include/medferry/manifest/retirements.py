"""Waves that are taken down: lines among the decisions, one when it begins and one when it is done."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest import decisions
from medferry.manifest.decisions import Decision, RecordedDecision


class Retirement(StrEnum):
    """How far it got."""

    RETIRING = "retiring"
    """All conditions held; from here on it only goes forward."""
    RETIRED = "retired"


def record_retirement(
    connection: sa.Connection, migration: str, wave: str, state: Retirement, digest: str, person: str, note: str
) -> None:
    """`digest`: of the evidence that was written, of the migration's files before."""
    decisions.record(connection, _subject(migration, wave), digest, Decision(state, person, note))


def retirement_of(connection: sa.Connection, migration: str, wave: str) -> RecordedDecision | None:
    """The newest line of a wave; None: nobody has begun."""
    subject = _subject(migration, wave)
    return decisions.newest(connection, [subject]).get(subject)


def retired_waves(connection: sa.Connection, migration: str, waves: Collection[str]) -> list[str]:
    """Those of some waves that are being taken down, or are."""
    return [wave for wave in waves if retirement_of(connection, migration, wave) is not None]


def _subject(migration: str, wave: str) -> str:
    return f"retire/{migration}/{wave}"
