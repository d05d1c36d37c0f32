"""Charts drawn for review, and the reviews: who looked, and what it came to. No patient data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest import audit, decisions
from medferry.manifest.audit import Act
from medferry.manifest.bulk import among
from medferry.manifest.checks import differing_keys
from medferry.manifest.database import now
from medferry.manifest.decisions import Decision, RecordedDecision, digest_of
from medferry.manifest.subject import Subject
from medferry.manifest.tables import chart, finding, run, source_record
from medferry.manifest.unit_state import states_of
from medferry.mapping.outcomes import DEAD


class ReviewOutcome(StrEnum):
    """What the review of a chart came to."""

    AGREES = "agrees"
    DIFFERS = "differs"


class UnknownChart(MedferryError):
    """No chart of that patient was drawn for the run."""


@dataclass(frozen=True, slots=True)
class ChartRow:
    """A chart that was drawn, with its newest review; the last four are empty while there is none."""

    entity: str
    key: str
    chosen: str
    seed: int
    drawn_at: str
    outcome: str
    reviewer: str
    finding: str
    reviewed_at: str


def record_charts(
    connection: sa.Connection, run_id: str, entity: str, seed: int, chosen: Iterable[tuple[str, str]]
) -> None:
    """Note the (key, why chosen) of a sample; a chart that was drawn before keeps its reviews."""
    at = now()
    rows = [
        {"run_id": run_id, "entity": entity, "key": key, "chosen": why, "seed": seed, "drawn_at": at}
        for key, why in chosen
    ]
    mine = (chart.c.run_id == run_id, chart.c.entity == entity)
    for row in rows:
        connection.execute(sa.delete(chart).where(*mine, chart.c.key == row["key"]))
    if rows:
        connection.execute(sa.insert(chart), rows)
        audit.append(connection, Act.DRAWN, f"charts/{run_id}/{entity}")


def record_review(
    connection: sa.Connection, run_id: str, key: str, reviewer: str, outcome: ReviewOutcome, finding: str
) -> None:
    """Append a review. Raises UnknownChart."""
    found = connection.execute(sa.select(chart).where(chart.c.run_id == run_id, chart.c.key == key)).one_or_none()
    if found is None:
        raise UnknownChart(
            f"No chart of that key was drawn for run {run_id}.", "Draw it: `medferry charts RUN --key KEY`."
        )
    decision = Decision(outcome, reviewer, finding)
    decisions.record(connection, _subject(run_id, found.entity, key), digest_of(found.seed, found.drawn_at), decision)


def charts_of(connection: sa.Connection, run_id: str) -> list[ChartRow]:
    """The charts drawn for a run, by entity and key, each with its newest review."""
    drawn = sa.select(chart).where(chart.c.run_id == run_id).order_by(chart.c.entity, chart.c.key)
    rows = connection.execute(drawn).all()
    newest = decisions.newest(connection, [_subject(run_id, row.entity, row.key) for row in rows])
    return [_row(row, newest.get(_subject(run_id, row.entity, row.key))) for row in rows]


def differing_of_subject(connection: sa.Connection, migration: str, subject: Subject) -> list[tuple[str, str]]:
    """(entity, key) of the charts of a subject whose newest review, whichever run they were drawn for, says "differs".

    A chart is of the entity that it begins with (the patient's), whatever hangs on it.
    """
    statement = sa.select(chart.c.run_id, chart.c.entity, chart.c.key)
    drawn = connection.execute(statement.join(run, run.c.id == chart.c.run_id).where(run.c.migration == migration))
    of_chart = {_subject(*line): (line.entity, line.key) for line in drawn}
    newest: dict[tuple[str, str], RecordedDecision] = {}
    for name, review in decisions.newest(connection, of_chart).items():
        before = newest.setdefault(of_chart[name], review)
        newest[of_chart[name]] = max(before, review, key=lambda one: one.at)
    differing = sorted(one for one, review in newest.items() if review.decision.verdict == ReviewOutcome.DIFFERS)
    return [(entity, key) for entity, key in differing if _is_of(connection, migration, subject, entity, key)]


def _is_of(connection: sa.Connection, migration: str, subject: Subject, entity: str, key: str) -> bool:
    named = {*subject.entities, *subject.keys}
    if (named and entity not in named) or (entity in subject.keys and key not in subject.keys[entity]):
        return False
    state = states_of(connection, migration, entity, [key]).get(key)
    return not subject.units or (state is not None and state.unit in subject.units)


def _row(row: sa.Row, review: RecordedDecision | None) -> ChartRow:  # type: ignore[type-arg]
    said = review.decision if review else Decision("", "")
    drawn = (row.entity, row.key, row.chosen, row.seed, row.drawn_at)
    return ChartRow(*drawn, said.verdict, said.person, said.note, review.at if review else "")


def _subject(run_id: str, entity: str, key: str) -> str:
    return f"chart/{run_id}/{entity}/{key}"


def remarks(connection: sa.Connection, run_id: str, entity: str) -> Counter[str]:
    """Source key → how much a run and its verification have to say of it: findings, dead letters and differences."""
    found = Counter(differing_keys(connection, run_id, entity))
    dead = source_record.c.disposition.in_(DEAD)
    for table, condition in ((finding, sa.true()), (source_record, dead)):
        keys = sa.select(table.c.key).where(table.c.run_id == run_id, table.c.entity == entity, condition)
        found.update(connection.scalars(keys))
    return found


def decided_as(connection: sa.Connection, run_id: str, entity: str, keys: Iterable[str]) -> dict[str, str]:
    """Key → the run's disposition, with reason and field where there are any, for those of `keys` that have a line."""
    columns = (source_record.c.key, source_record.c.disposition, source_record.c.reason, source_record.c.field)
    line = (source_record.c.run_id == run_id, source_record.c.entity == entity)
    statement = sa.select(*columns).where(*line, among(connection, source_record.c.key, keys))
    return {key: " ".join(part for part in words if part) for key, *words in connection.execute(statement)}
