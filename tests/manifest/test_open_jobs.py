"""Which asynchronous jobs may still write a slice's rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from medferry.manifest import jobs, runs
from medferry.manifest.database import now
from medferry.manifest.jobs import OpenJob
from medferry.manifest.runs import RunRow, SliceRow
from medferry.source.slices import SliceSpec


def add(connection: sa.Connection, run_id: str, *slices: tuple[str, str], migration: str = "m") -> list[SliceRow]:
    """A run with a slice for each (entity, unit)."""
    row = RunRow(run_id, migration, "run", "running", ["north"], ["patient"], {}, "0" * 64, now(), None)
    specs = [SliceSpec(entity, (unit,), None, None, 1) for entity, unit in slices]
    runs.add_run(connection, row, [(0, spec) for spec in specs])
    return runs.slices_of(connection, run_id)


def test_a_job_is_open_from_before_its_submission_to_its_end(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        [mine] = add(connection, "r", ("patient", "north"))
        name = jobs.announce(connection, "r", mine.id, 200)
        assert jobs.open_jobs(connection, "m", mine) == [OpenJob("r", "", False)]
        jobs.remember(connection, "r", name, "job/1")
        assert jobs.open_jobs(connection, "m", mine) == [OpenJob("r", "job/1", False)]
        jobs.give_up(connection, "r", "job/1")
        assert jobs.open_jobs(connection, "m", mine) == [OpenJob("r", "job/1", True)]
        jobs.mark_ended(connection, "r", "job/1", "completed")
        assert jobs.open_jobs(connection, "m", mine) == []


def test_a_refused_job_was_never_there(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        [mine] = add(connection, "r", ("patient", "north"))
        jobs.announce(connection, "r", mine.id, 200)
        jobs.withdraw(connection, "r", jobs.announce(connection, "r", mine.id, 200))
        assert len(jobs.open_jobs(connection, "m", mine)) == 1


def test_only_jobs_over_the_same_rows_count(manifest: sa.Engine) -> None:
    """Another run's over the same entity and unit do; another slice's, unit's, entity's, migration's do not."""
    with manifest.begin() as connection:
        mine, sibling = add(connection, "r", ("patient", "north"), ("patient", "north"))
        same, unit, entity = add(connection, "s", ("patient", "north"), ("patient", "south"), ("visit", "north"))
        [foreign] = add(connection, "t", ("patient", "north"), migration="other")
        for one in (mine, sibling, same, unit, entity, foreign):
            name = jobs.announce(connection, one.run_id, one.id, 1)
            jobs.remember(connection, one.run_id, name, f"{one.run_id}/{one.id}")
        found = jobs.open_jobs(connection, "m", mine)
    assert {job.url for job in found} == {f"r/{mine.id}", f"s/{same.id}"}


def test_a_job_of_unknown_end_is_held_for_lost_after_a_day(
    manifest: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with manifest.begin() as connection:
        [mine] = add(connection, "r", ("patient", "north"))
        jobs.announce(connection, "r", mine.id, 200)
        monkeypatch.setattr(jobs, "MAY_RUN_FOR", timedelta(seconds=-1))
        assert jobs.open_jobs(connection, "m", mine) == []
