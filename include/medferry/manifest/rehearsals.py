"""Rehearsals of a wave's cutover: when, by which files, and how long its freeze took. A line among the decisions."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest import decisions
from medferry.manifest.decisions import Decision

_VERDICT = "rehearsed"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal that came to its end, at a UTC time. `freeze_seconds` as measured; `fingerprint` of the files."""

    freeze_seconds: float
    fingerprint: str
    person: str
    at: str


def record_rehearsal(
    connection: sa.Connection, migration: str, wave: str, freeze_seconds: float, fingerprint: str, person: str
) -> None:
    """To be called when a rehearsal has come to its end."""
    decision = Decision(_VERDICT, person, f"{freeze_seconds:.3f}")
    decisions.record(connection, _subject(migration, wave), fingerprint, decision)


def newest_rehearsal(connection: sa.Connection, migration: str, wave: str) -> Rehearsal | None:
    """None: the wave was never rehearsed."""
    subject = _subject(migration, wave)
    last = decisions.newest(connection, [subject]).get(subject)
    return Rehearsal(float(last.decision.note), last.digest, last.decision.person, last.at) if last else None


def _subject(migration: str, wave: str) -> str:
    return f"rehearsal/{migration}/{wave}"
