"""What the report says of a wave that is kept in step."""

from __future__ import annotations

import pytest

from medferry.manifest.runs import list_runs, newest_run
from medferry.report.in_step import lag_svg
from medferry.report.reconciliation import reconcile
from medferry.report.write import render_html
from medferry.sync.cycle import cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write, captured, loaded, wave, write  # noqa: F401 - fixtures


def test_the_lag_of_each_entity_is_shown_and_drawn(wave: SyncedWave, write: Write) -> None:  # noqa: F811
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    cycle(wave)
    with wave.environment.manifest.begin() as connection:
        run = list_runs(connection, "tiny", 1)[0]
        content = reconcile(connection, wave.environment.migration, run.id)
        assert newest_run(connection, "tiny").id != run.id, "a cut is not what people mean by the newest run"
    [found] = content.in_step
    patient = next(each for each in found.entities if each.entity == "patient")
    assert patient.lag_p50 is not None and patient.miss_rate == 0
    assert [round(seconds) for _, seconds in found.lags] == [round(patient.lag_p99 or -1)]
    page = render_html(content)
    assert "<b>APPLIED</b>" in page and "NOT VERIFIED" not in page
    assert "Wave pilot in step" in page and 'aria-label="Lag in seconds"' in page
    assert content.as_json()["in_step"][0]["wave"] == "pilot"


@pytest.mark.parametrize("number", [0, 1, 2, 5000])
def test_however_many_cuts_there_were_the_drawing_is_small(number: int) -> None:
    drawn = lag_svg(
        [(f"2026-11-28T{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}Z", at % 7) for at in range(number)]
    )
    assert drawn.count("<rect") <= 240
    assert bool(drawn) == bool(number)
