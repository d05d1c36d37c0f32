"""The benchmark at a tiny scale: its files have their shape, and every way wrote the same resources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from demo_clinics import database
from embedded_medplum.server import EmbeddedMedplum
from medferry_bench import capture_cost, measure
from medferry_bench.__main__ import main
from medferry_bench.corpus import corpus
from medferry_bench.goals import goals
from medferry_bench.plot import svg
from medferry_bench.poster import NotAllDone, Poster, request_of
from medferry_bench.results import KEYS, LEFT_OUT
from medferry_bench.ways import Ways, WrongNumber

WAYS = ("ceiling", "cli_import", "documented_1", "documented_4", "load", "end_to_end", "rerun")


LAG = {"p50_seconds": 1.5, "start_seconds": 3.2, "changes_per_second": 50.0, "values": 1_000, "undecided": 0}
IN_STEP: dict[str, Any] = {
    "forth": {**LAG, "p99_seconds": 5.01, "missing": 0},
    "back": {**LAG, "p99_seconds": 4.9, "missing": 1},
    "empty": {"requests": {"medplum": 9, "legacy": 10, "manifest": 20}, "milliseconds": 80.0},
    "sweep": {"rows_per_second": 1_000, "rows": 5_000, "missed": 0},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "CEILING_LANES", (2,))
        patch.setattr(measure, "LOAD_LANES", (2,))
        patch.setattr(measure, "measure_in_step", lambda _: IN_STEP)  # tests/demo_clinics/test_living.py measures it
        patch.setattr(capture_cost, "ENGINES", {"postgresql": database.embedded})
        patch.setattr(measure, "measure_capture", lambda tell: capture_cost.measure_capture(tell, blocks=2, rows=10))
        main(patients=3, rounds=1, only=None, large=400, batch_size=50, folder=folder)
    yield folder


@pytest.fixture(scope="module")
def figures(written: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((written / "results.json").read_bytes())
    return found


@pytest.mark.slow
def test_results_have_exactly_the_keys(figures: dict[str, Any]) -> None:
    assert tuple(figures) == KEYS
    assert [name for name, one in figures.items() if "not_measured" in one] == []
    of_corpus = [one for name, one in figures.items() if name not in ("in_step", "capture")]
    assert all(one["settings"]["source_units"] > 0 for one in of_corpus)
    assert figures["capture"]["postgresql"]["rows_per_second"]["with"] > 0
    assert all(figures[name]["resources_per_second"] > 0 for name in (*WAYS, "transform"))
    assert figures["extract"]["rows_per_second"] > 0
    assert figures["verify"]["resources_per_second"] > 0
    assert 0 < figures["verify"]["points_per_resource"] < 30
    assert 0 < figures["verify"]["percent_of_load_points"] < 30
    assert figures["extract"]["megabytes_per_second"] > 0
    engines = figures["extract"]["engines"]
    assert set(engines) == {"postgresql", "mariadb", "sqlite"}
    assert engines["postgresql"]["ratio_to_postgresql"] == 1
    assert all(one["rows_per_second"] > 0 and one["ratio_to_postgresql"] > 0 for one in engines.values())


@pytest.mark.slow
def test_every_way_created_the_same(figures: dict[str, Any]) -> None:
    wanted = figures["ceiling"]["settings"]["resources"]
    created = {name: figures[name]["created"] for name in WAYS} | {
        "documented_2": figures["documented_4"]["at_two_lanes"]["created"]
    }
    assert wanted > 50
    assert created == {name: [wanted] for name in created}


@pytest.mark.slow
def test_memory_of_every_stage_and_size(figures: dict[str, Any]) -> None:
    memory = figures["memory"]
    assert list(memory["stages"]) == ["prepare", "extract", "transform", "load", "verify"]
    peaks = [one["peak_megabytes"] for one in [*memory["stages"].values(), *memory["transform_growth"]]]
    assert min(peaks) > 20
    assert memory["peak_megabytes"] == max(peaks)
    assert 380 <= memory["transform_growth"][-1]["source_units"] <= 400


@pytest.mark.slow
def test_table_and_plot_show_every_way(written: Path) -> None:
    table = (written / "table.md").read_text()
    assert [f"({letter})" in table for letter in "abcdef"] == [True] * 6
    bars = ElementTree.fromstring((written / "plot.svg").read_text()).iter("{http://www.w3.org/2000/svg}rect")
    assert [float(bar.attrib["width"]) > 0 for bar in bars] == [True] * 9  # eight ways and the ground


@pytest.mark.slow
def test_a_way_that_wrote_another_number_is_refused(tmp_path: Path) -> None:
    with corpus(tmp_path, 1, 50) as made, pytest.raises(WrongNumber):
        Ways(replace(made, resources=made.resources + 1), 50).ceiling(1)


def _creates(number: int) -> list[dict[str, Any]]:
    one = {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}
    return [one] * number


@pytest.mark.slow
def test_refused_entries_are_posted_again_and_only_they() -> None:
    with EmbeddedMedplum(quota=1_000_000, faults=True) as medplum:
        medplum.inject({"kind": "entry-conflict", "next": 3})
        poster = Poster(medplum.base_url, medplum.client_id, medplum.client_secret, lanes=2, batch_size=4)
        poster.post([[request_of(_creates(4)), request_of(_creates(4))]])
        assert poster.statuses == {201: 8, 409: 3}


@pytest.mark.slow
def test_entries_that_are_always_refused_end_the_measurement() -> None:
    with EmbeddedMedplum(quota=1_000_000, faults=True) as medplum:
        medplum.inject({"kind": "entry-error", "every": 1})
        poster = Poster(medplum.base_url, medplum.client_id, medplum.client_secret, lanes=1, batch_size=4)
        with pytest.raises(NotAllDone):
            poster.post([[request_of(_creates(1))]])


def _figures(**rates: float) -> dict[str, Any]:
    missing: dict[str, Any] = {"not_measured": LEFT_OUT}
    figures: dict[str, Any] = {key: dict(missing) for key in KEYS}
    for name, rate in rates.items():
        figures[name] = {"resources_per_second": rate, "source_units_per_second": rate / 2}
    figures["documented_4"]["at_two_lanes"] = dict(missing)
    return figures


def test_a_fast_rerun_does_not_dwarf_the_ways_that_write() -> None:
    image = ElementTree.fromstring(svg(_figures(ceiling=1000, load=500, end_to_end=0, rerun=20_000)))
    bars = [float(bar.get("width", "0")) for bar in image.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert max(bars) == bars[0] == bars[-1] == 2 * bars[-3]
    texts = [text.text for text in image.iter("{http://www.w3.org/2000/svg}text")]
    assert {"20,000 (bar cut)", "1,000", "not measured"} <= set(texts)


def test_goals_are_judged_on_what_was_measured_only() -> None:
    figures = _figures(ceiling=100, load=89, end_to_end=70, rerun=1500)
    assert {goal.text: goal.met for goal in goals(figures)} == {
        "end_to_end ÷ ceiling": True,
        "rerun ÷ end_to_end, in source records": True,
    }
    figures["verify"] = {"percent_of_load_points": 3.01}
    figures["in_step"] = IN_STEP
    figures["capture"] = {
        "postgresql": {"cost_percent": 20.0},
        "mariadb": {"not_measured": "no server"},
        "settings": {},
    }
    figures["extract"] = {"engines": {name: {"rows_per_second": 89.0} for name in ("postgresql", "mariadb")}}
    before = _figures(load=100) | {"extract": {"rows_per_second": 90.0}}  # of a version that measured one engine
    judged = {goal.text: goal.met for goal in goals(figures, before=before)}
    assert judged["extract from postgresql ÷ extract before"] is True
    assert "extract from mariadb ÷ extract before" not in judged
    assert judged["load ÷ load before"] is False
    assert judged["verification's points, % of the load's"] is False
    assert judged["lag forth, p99 in seconds"] is judged["values that never arrived back"] is False
    assert judged["lag back, p99 in seconds"] is judged["values that never arrived forth"] is True
    assert judged["requests to Medplum of an empty cycle"] is True
    assert judged["capture on postgresql, cost in %"] is True
    assert "capture on mariadb, cost in %" not in judged
