"""Cuts are noted, applied, moved on and found again by the interval of their run; sweeps are noted and stopped."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest import checkpoints, sweeps
from medferry.manifest.checkpoints import NO_INTERVAL, CheckpointState, Interval, NewCheckpoint
from medferry.source.changes.rules import CaptureMethod

LOG = CaptureMethod.LOG


def cut(low: str, high: str, run_id: str = "", interval: Interval = NO_INTERVAL, wave: str = "pilot") -> NewCheckpoint:
    return NewCheckpoint("m", wave, LOG, low, high, run_id, len(run_id), interval, {"patient": {"2": 3}})


def test_a_cut_with_a_run_is_recorded_until_it_is_applied(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        assert checkpoints.newest(connection, "m", "pilot") is None
        checkpoints.record(connection, cut("a", "b", "run"))
        checkpoints.record(connection, cut("x", "y", wave="rest"))
    with manifest.begin() as connection:
        found = checkpoints.unfinished(connection, "m", "pilot")
        assert found is not None and (found.state, found.run_id, found.ages) == (
            CheckpointState.RECORDED,
            "run",
            {"patient": {"2": 3}},
        )
        checkpoints.set_run(connection, found.id, "another")
        checkpoints.set_applied(connection, found.id)
        assert checkpoints.unfinished(connection, "m", "pilot") is None
        [done] = checkpoints.recent(connection, "m", "pilot", 5)
        assert (done.run_id, done.position_to, done.applied_at is None) == ("another", "b", False)


def test_cuts_without_a_key_move_the_newest_on(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        checkpoints.record(connection, cut("a", "b"))
        first = checkpoints.newest(connection, "m", "pilot")
        assert first is not None
        checkpoints.move_on(connection, first.id, "c")
        checkpoints.move_on(connection, first.id, "d")
        last = checkpoints.newest(connection, "m", "pilot")
        assert last is not None and (last.id, last.position_to, last.cycles) == (first.id, "d", 3)
        assert checkpoints.recent(connection, "m", "pilot", 5) == []


def test_cuts_are_found_by_the_interval_of_their_run(manifest: sa.Engine) -> None:
    days = [Interval(f"2026-01-0{day}", f"2026-01-0{day + 1}") for day in range(1, 5)]
    with manifest.begin() as connection:
        checkpoints.record(connection, cut("a", "b", "one", days[0]))
        checkpoints.record(connection, cut("b", "c"))
        checkpoints.record(connection, cut("c", "d", "two", days[2]))

        def runs_in(interval: Interval) -> list[str]:
            return [each.run_id for each in checkpoints.of_interval(connection, "m", "pilot", interval)]

        assert [runs_in(day) for day in days] == [["one"], [], ["two"], []]
        assert runs_in(Interval(days[0].start, days[2].end)) == ["one", "two"]
        assert [checkpoints.any_later(connection, "m", "pilot", day) for day in days] == [True, True, False, False]


def test_the_newest_sweep_of_each_entity_counts_and_can_be_stopped(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        first = sweeps.begin(connection, "m", "pilot", "patient")
        sweeps.end(connection, first, 10, 5, True)
        second = sweeps.begin(connection, "m", "pilot", "patient")
        assert sweeps.newest_sweeps(connection, "m", "pilot")["patient"].id == first
        assert (sweeps.stop(connection, "m", "rest"), sweeps.is_stopped(connection, second)) == (0, False)
        assert (sweeps.stop(connection, "m", "pilot"), sweeps.is_stopped(connection, second)) == (1, True)
        sweeps.end(connection, second, 8, 2, False)
        newest = sweeps.newest_sweeps(connection, "m", "pilot")["patient"]
        assert (newest.id, newest.complete, newest.miss_rate) == (second, False, 0.25)
