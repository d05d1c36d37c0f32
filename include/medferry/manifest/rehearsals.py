"""Rehearsals of a wave's cutover: when, by which files, and how long its freeze took. A line among the decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from medferry.manifest import decisions
from medferry.manifest.decisions import Decision

_VERDICT = "rehearsed"
_FREEZE, _FORECAST, _PARTS, _CAUGHT_UP, _CHECKED = "freeze", "forecast", "parts", "caught_up", "checked"

Done = tuple[int, float]
"""An amount of work, and the seconds that it took."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a rehearsal took. `freeze` and `forecast` (None: it was not known) in seconds, `parts` what `freeze` is the
    sum of; `caught_up` records of the final cut, `checked` resources of the verification under the freeze.
    """

    freeze: float
    forecast: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    caught_up: Done = (0, 0.0)
    checked: Done = (0, 0.0)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal that came to its end, at a UTC time; `fingerprint` of the files."""

    measured: Measured
    fingerprint: str
    person: str
    at: str


def record_rehearsal(
    connection: sa.Connection, migration: str, wave: str, measured: Measured, fingerprint: str, person: str
) -> None:
    """To be called when a rehearsal has come to its end."""
    values = (measured.freeze, measured.forecast, measured.parts, measured.caught_up, measured.checked)
    note = dict(zip((_FREEZE, _FORECAST, _PARTS, _CAUGHT_UP, _CHECKED), values, strict=True))
    decision = Decision(_VERDICT, person, json.dumps(note))
    decisions.record(connection, _subject(migration, wave), fingerprint, decision)


def rehearsals_of(connection: sa.Connection, migration: str, wave: str) -> list[Rehearsal]:
    """The newest first."""
    return [
        Rehearsal(_measured(json.loads(one.decision.note)), one.digest, one.decision.person, one.at)
        for one in reversed(decisions.decisions_of(connection, _subject(migration, wave)))
    ]


def _measured(note: dict[str, Any]) -> Measured:
    return Measured(note[_FREEZE], note[_FORECAST], note[_PARTS], (*note[_CAUGHT_UP],), (*note[_CHECKED],))


def _subject(migration: str, wave: str) -> str:
    return f"rehearsal/{migration}/{wave}"
