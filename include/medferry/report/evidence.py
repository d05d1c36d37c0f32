"""What is kept of a wave that is over: plan, verdicts, decisions, acts, counts, removals, each with no patient data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from medferry import __version__
from medferry.definition.migration import Migration
from medferry.governance.verdict import verdict_of_verification
from medferry.manifest import cutovers
from medferry.manifest.checks import Verification, whole_verifications
from medferry.manifest.clock import read_clock
from medferry.manifest.decisions import decisions_below
from medferry.manifest.purges import purges_of
from medferry.manifest.spoken import said_below
from medferry.manifest.unit_state import counts_of
from medferry.report.shown import shown_check

_ALL = 1_000_000
_DECIDED = ("readiness", "cutover", "rollback", "rehearsal", "retire")
"""What decisions about a wave are filed under."""


def members_of(
    connection: sa.Connection, migration: Migration, wave: str, units: Sequence[str], told: Mapping[str, Any]
) -> dict[str, bytes]:
    """Name → content. `told`: what else is to be said of the retirement."""
    name = migration.name
    head = {
        "migration": name,
        "wave": wave,
        "units": list(units),
        "written_at": read_clock(connection),
        "files": migration.fingerprint,
        "medferry": __version__,
        **told,
    }
    of = {*units}
    verified = [one for one in whole_verifications(connection, name) if of & {*(one.subject["units"] or of)}]
    verdicts = [verdict_of_verification(connection, one.id) for one in verified]
    exceptions = sorted({one.id for verdict in verdicts for one in verdict.exceptions})
    subjects = [*(f"{kind}/{name}/{wave}" for kind in _DECIDED), *(f"exception/{one}" for one in exceptions)]
    subjects.append(said_below(name))
    columns = ("entity", "unit", "disposition", "records")
    return {
        "retirement.json": _json(head),
        "plan.yaml": (migration.folder / "plan.yaml").read_bytes(),
        "verdicts.json": _json([_verdict(connection, one) for one in verified]),
        "decisions.json": _json([asdict(one) for one in decisions_below(connection, *subjects)]),
        "cutovers.json": _json([_attempt(connection, one) for one in cutovers.attempts_of(connection, name, wave)]),
        "counts.json": _json([dict(zip(columns, row, strict=True)) for row in counts_of(connection, name, units)]),
        "removals.json": _json([asdict(one) for one in purges_of(connection, name, _ALL)]),
    }


def _verdict(connection: sa.Connection, found: Verification) -> dict[str, Any]:
    """Of a verification; the keys in the examples of its checks as they may be shown."""
    verdict = verdict_of_verification(connection, found.id)
    return {
        "verification": found.id,
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "files": found.fingerprint,
        "sample_share": found.sample_share,
        "verdict": verdict.text(),
        "passed": verdict.passed,
        "checks": [asdict(shown_check(result)) for result in verdict.results],
        "exceptions": [asdict(one) for one in verdict.exceptions],
    }


def _attempt(connection: sa.Connection, found: cutovers.Attempt) -> dict[str, Any]:
    acts = [asdict(act) for act in cutovers.acts_of(connection, found)]
    return {"id": found.id, "direction": found.direction, "state": found.state, "person": found.person,
            "begun_at": found.begun_at, "ended_at": found.ended_at, "acts": acts}  # fmt: skip


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, default=str).encode()
