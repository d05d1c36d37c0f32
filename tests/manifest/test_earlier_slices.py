"""Which slice of an earlier run repeats in this one: the same entity, units and bounds, of the newest proven run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from medferry.manifest import repeats, runs
from medferry.manifest.runs import RunRow
from medferry.manifest.tables import slice_
from medferry.source.slices import SliceSpec

LATER = RunRow("now", "m", "run", "running", ["north"], ["patient"], {}, "print", "2026-01-03", None)
BOUNDS = [(None, 7), (7, None), ("é", "ü"), (None, None)]


@pytest.mark.parametrize("low_high", BOUNDS, ids=str)
def test_the_same_slice_of_the_newest_proven_run_is_found(
    manifest: sa.Engine, low_high: tuple[int | str | None, int | str | None]
) -> None:
    specs = [(0, SliceSpec("patient", ("north",), low, high, 3)) for low, high in BOUNDS]
    earlier = [
        replace(LATER, id=name, status=status, started_at=at, fingerprint=fingerprint)
        for name, status, at, fingerprint in (
            ("older", "succeeded", "2026-01-01", "print"),
            ("proven", "succeeded", "2026-01-02", "print"),
            ("failed", "failed", "2026-01-03", "print"),
            ("another mapping", "succeeded", "2026-01-03", "other"),
        )
    ]
    with manifest.begin() as connection:
        for one in (*earlier, LATER):
            runs.add_run(connection, one, specs)
        connection.execute(sa.update(slice_).values(stage="loaded", digest="d"))
        for mine in runs.slices_of(connection, "now"):
            found = repeats.find_earlier(connection, LATER, mine)
            assert found is not None
            assert (found.run_id, found.id) == ("proven", mine.id)
        mine = next(one for one in runs.slices_of(connection, "now") if (one.low, one.high) == low_high)
        assert repeats.find_earlier(connection, LATER, replace(mine, units=["south"])) is None
        assert repeats.find_earlier(connection, LATER, replace(mine, high="x")) is None
