"""Asynchronous batches that may still write: noted before they are submitted, named before they are waited for.

A job whose end is unknown may run whenever Medplum gets to it. Whoever writes the same keys meanwhile must know, be it
the same run after a crash or a later run over the same scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa

from medferry.manifest.database import now
from medferry.manifest.runs import SliceRow
from medferry.manifest.tables import job, run, slice_

MAY_RUN_FOR = timedelta(days=1)
"""A job of unknown end that is older than this is held for lost."""

_UNNAMED = "unnamed:"
STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that may still run. `url` is its status path, "" when the answer to its submission never came."""

    run_id: str
    url: str
    given_up: bool


def announce(connection: sa.Connection, run_id: str, slice_id: str, entries: int) -> str:
    """Note, before it is submitted, that a job of the slice may run; returns its name until it has a URL."""
    name = f"{_UNNAMED}{uuid4()}"
    row = {"run_id": run_id, "url": name, "slice_id": slice_id, "entries": entries, "submitted_at": now()}
    connection.execute(sa.insert(job), [row])
    return name


def withdraw(connection: sa.Connection, run_id: str, name: str) -> None:
    """Medplum refused the job: it will never run."""
    connection.execute(sa.delete(job).where(job.c.run_id == run_id, job.c.url == name))


def remember(connection: sa.Connection, run_id: str, name: str, url: str) -> None:
    """Medplum has taken the job: it can be asked for under `url`."""
    connection.execute(sa.update(job).where(job.c.run_id == run_id, job.c.url == name).values(url=url))


def mark_ended(connection: sa.Connection, run_id: str, url: str, status: str) -> None:
    """The job is over: `status` is completed or error."""
    mine = sa.and_(job.c.run_id == run_id, job.c.url == url)
    connection.execute(sa.update(job).where(mine).values(ended_at=now(), status=status))


def give_up(connection: sa.Connection, run_id: str, url: str) -> None:
    """Nobody waits for the job any more, but it may still run."""
    connection.execute(sa.update(job).where(job.c.run_id == run_id, job.c.url == url).values(status=STUCK))


def open_jobs(connection: sa.Connection, migration: str, mine: SliceRow) -> list[OpenJob]:
    """Jobs that may still write rows of this slice, oldest first: its own, and those of other runs over its units.

    Other slices of the same run have other rows.
    """
    oldest = (datetime.now(UTC) - MAY_RUN_FOR).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    statement = (
        sa.select(job.c.run_id, job.c.url, job.c.status, slice_.c.units)
        .join(slice_, sa.and_(slice_.c.run_id == job.c.run_id, slice_.c.id == job.c.slice_id))
        .join(run, run.c.id == job.c.run_id)
        .where(run.c.migration == migration, slice_.c.entity == mine.entity)
        .where(sa.or_(job.c.run_id != mine.run_id, job.c.slice_id == mine.id))
        .where(job.c.ended_at.is_(None), job.c.submitted_at > oldest)
        .order_by(job.c.submitted_at)
    )
    return [
        OpenJob(row.run_id, "" if row.url.startswith(_UNNAMED) else row.url, row.status == STUCK)
        for row in connection.execute(statement)
        if set(row.units) & set(mine.units)
    ]
