"""Which slice of an earlier run repeats in this one: that of the run that loaded the same rows last, if proven."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from medferry.manifest import repeats, runs
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.tables import slice_
from medferry.source.slices import SliceSpec

LATER = RunRow("now", "m", "run", "running", ["north"], ["patient"], {}, "print", "2026-02-01", None)
PROVEN = replace(LATER, id="proven", status="succeeded", started_at="2026-01-02")
BOUNDS = [(None, 7), (7, None), ("é", "ü"), (None, None)]
NORTH = [(0, SliceSpec("patient", ("north",), low, high, 3)) for low, high in BOUNDS]


def add(connection: sa.Connection, run: RunRow, specs: list[tuple[int, SliceSpec]] = NORTH, fence: int = 1) -> None:
    """A run that has loaded its slices, or (`fence` 0) has not begun to."""
    runs.add_run(connection, run, specs)
    mine = slice_.c.run_id == run.id
    connection.execute(sa.update(slice_).where(mine).values(stage="loaded", digest="d", fence=fence))


def slices(connection: sa.Connection) -> list[SliceRow]:
    runs.add_run(connection, LATER, NORTH)
    return runs.slices_of(connection, LATER.id)


def test_the_same_slice_of_the_last_load_is_found(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        add(connection, replace(PROVEN, id="older", started_at="2026-01-01"))
        add(connection, PROVEN)
        for mine in slices(connection):
            found = repeats.find_earlier(connection, LATER, mine)
            assert found is not None
            assert (found.run_id, found.id) == ("proven", mine.id)
            assert repeats.find_earlier(connection, LATER, replace(mine, units=["south"])) is None
            assert repeats.find_earlier(connection, LATER, replace(mine, high="x")) is None
            assert repeats.find_earlier(connection, LATER, replace(mine, keys=["1"])) is None


SINCE = {
    "a failed run": {"status": "failed"},
    "another mapping": {"fingerprint": "other"},
    "a run at work": {"status": "running"},
}


@pytest.mark.parametrize("since", SINCE)
def test_after_any_other_load_nothing_repeats(manifest: sa.Engine, since: str) -> None:
    """It may have written something else: the crosswalk no longer says what the proven run wrote."""
    with manifest.begin() as connection:
        add(connection, PROVEN)
        add(connection, replace(PROVEN, id="since", started_at="2026-01-03", **SINCE[since]))
        assert [repeats.find_earlier(connection, LATER, mine) for mine in slices(connection)] == [None] * len(NORTH)


def test_after_a_replay_or_another_slicing_nothing_repeats(manifest: sa.Engine) -> None:
    replay = [(0, SliceSpec("patient", ("north",), None, None, 1, keys=("5",)))]
    wider = [(0, SliceSpec("patient", ("north", "south"), None, None, 9))]
    for number, specs in enumerate((replay, wider)):
        with manifest.begin() as connection:
            if number == 0:
                add(connection, PROVEN)
                slices(connection)
            add(connection, replace(PROVEN, id=f"since{number}", started_at=f"2026-01-0{number + 3}"), specs)
            for mine in runs.slices_of(connection, LATER.id):
                assert repeats.find_earlier(connection, LATER, mine) is None


def test_runs_of_other_units_and_runs_that_loaded_nothing_do_not_count(manifest: sa.Engine) -> None:
    south = [(0, SliceSpec("patient", ("south",), None, None, 3))]
    with manifest.begin() as connection:
        add(connection, PROVEN)
        add(connection, replace(PROVEN, id="south", status="failed", started_at="2026-01-03"), south)
        add(connection, replace(PROVEN, id="dry", status="failed", started_at="2026-01-04"), fence=0)
        add(connection, replace(PROVEN, id="other", migration="other", started_at="2026-01-05"))
        found = [repeats.find_earlier(connection, LATER, mine) for mine in slices(connection)]
        assert [one.run_id for one in found if one] == ["proven"] * len(NORTH)
