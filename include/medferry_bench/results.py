"""The content of results.json: medians of the rounds, each with the settings it was measured with."""

from __future__ import annotations

import os
import platform
from statistics import median
from typing import Any

from medferry_bench import medplum_cli
from medferry_bench.corpus import SEED, Corpus
from medferry_bench.extraction import extract_figures
from medferry_bench.job import Result
from medferry_bench.measure import LOAD_LANES, Measured

KEYS = (
    "ceiling", "cli_import", "documented_1", "documented_4", "load", "end_to_end", "rerun", "transform", "extract",
    "verify", "memory", "in_step", "capture",
)  # fmt: skip

LEFT_OUT = "left out by --only"

Figures = dict[str, Any]


def results(measured: Measured, corpus: Corpus, server: str, batch_size: int) -> dict[str, Figures]:
    """Exactly the keys `KEYS`; what was not measured says why under ``not_measured``."""
    load_lanes = measured.best_lanes("load") if "load" in measured.lanes else max(LOAD_LANES)
    common = {"server": server, "batch_size": batch_size} | _common(corpus)
    posted: dict[str, Any] = {"gzip": "level 1, made before the clock starts"}
    lanes: dict[str, dict[str, Any]] = {
        "ceiling": posted | _lanes(measured, "ceiling") | {"requests": "plain creates, literal references, no levels"},
        "cli_import": {
            "lanes": 1,
            "batch_size": medplum_cli.RESOURCES_A_REQUEST,
            "command": "medplum bulk import, defaults; the start of Node counts",
        },
        "load": _lanes(measured, "load") | {"mode": "lookup", "manifest": "SQLite", "read_back": "every resource"},
    }
    lanes |= {
        f"documented_{n}": posted | {"lanes": n, "requests": "conditional PUT and references, refused entries again"}
        for n in (1, 2, 4)
    }
    whole = {"lanes": load_lanes, "source": "embedded PostgreSQL", "manifest": "SQLite"}
    whole["ends"] = "with the last resource's read-back; verified_…: with the last check of every value"
    lanes |= {"end_to_end": whole, "rerun": whole}
    figures = {way: _way(measured, way, corpus, common | settings) for way, settings in lanes.items()}
    figures["documented_4"]["at_two_lanes"] = figures.pop("documented_2")
    figures["transform"] = _transform(measured, common)
    figures["extract"] = _extract(measured, common | {"source": "the same charts in each engine"})
    figures["verify"] = _verify(measured, common | {"source": "embedded PostgreSQL", "manifest": "SQLite"})
    figures["memory"] = _memory(measured, common | {"lanes": load_lanes})
    machine = {"machine": common["machine"], "cpus": common["cpus"]}
    for name, found in (("in_step", measured.in_step), ("capture", measured.capture)):
        figures[name] = {**found, "settings": machine} if found else {"not_measured": LEFT_OUT, "settings": machine}
    return {key: figures[key] for key in KEYS}


def _common(corpus: Corpus) -> dict[str, Any]:
    return {
        "seed": SEED,
        "source_units": corpus.rows,
        "resources": corpus.resources,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_average_at_end": round(os.getloadavg()[0], 2),
    }


def _lanes(measured: Measured, way: str) -> dict[str, Any]:
    if way not in measured.lanes:
        return {}
    return {"lanes": measured.best_lanes(way), "lanes_tried": {str(k): v for k, v in measured.lanes[way].items()}}


def _way(measured: Measured, way: str, corpus: Corpus, settings: dict[str, Any]) -> Figures:
    rounds = measured.rounds.get(way)
    if not rounds:
        return {"not_measured": measured.missing.get(way, LEFT_OUT), "settings": settings}
    seconds = median(one["seconds"] for one in rounds)
    figures: Figures = {
        "resources_per_second": round(corpus.resources / seconds, 1),
        "source_units_per_second": round(corpus.rows / seconds, 1),
        "seconds": [round(one["seconds"], 3) for one in rounds],
        "created": sorted({one["created"] for one in rounds}),
    }
    if "statuses" in rounds[0]:
        figures["statuses"] = [one["statuses"] for one in rounds]
    if "cpu_seconds" in rounds[0]:
        figures["client_cpu_seconds"] = round(median(one["cpu_seconds"] for one in rounds), 3)
    if "last" in rounds[0]:
        figures["last_progress"] = [one["last"] for one in rounds]
        verified = median(one["verified_seconds"] for one in rounds)
        figures["verified_resources_per_second"] = round(corpus.resources / verified, 1)
        figures["verified_source_units_per_second"] = round(corpus.rows / verified, 1)
    return figures | {"settings": settings | {"rounds": len(rounds)}}


def _transform(measured: Measured, settings: dict[str, Any]) -> Figures:
    rounds = measured.rounds.get("transform")
    if not rounds:
        return {"not_measured": LEFT_OUT, "settings": settings}
    settings |= {"rounds": len(rounds), "per": "second of one core's time; mapping and full validation, one process"}
    return {
        "resources_per_second": round(median(one["resources"] / one["cpu_seconds"] for one in rounds), 1),
        "resources_per_second_by_the_clock": round(median(one["resources"] / one["seconds"] for one in rounds), 1),
        "settings": settings,
    }


def _extract(measured: Measured, settings: dict[str, Any]) -> Figures:
    if not measured.extract:
        return {"not_measured": LEFT_OUT, "settings": settings}
    return extract_figures(measured.extract, measured.no_extract, settings)


def _verify(measured: Measured, settings: dict[str, Any]) -> Figures:
    one = measured.stages.get("verify")
    if not one:
        return {"not_measured": LEFT_OUT, "settings": settings}
    return {
        "resources_per_second": round(one["resources"] / one["seconds"], 1),
        "points_per_resource": round(one["points"] / one["resources"], 3),
        "percent_of_load_points": round(100 * one["points"] / measured.stages["load"]["points"], 3),
        "settings": settings | {"compared": "every value of every resource; a create costs 100 points"},
    }


def _memory(measured: Measured, settings: dict[str, Any]) -> Figures:
    if not measured.stages:
        return {"not_measured": LEFT_OUT, "settings": settings}
    return {
        "peak_megabytes": max(_megabytes(one) for one in [*measured.stages.values(), *measured.growth]),
        "stages": {
            name: {"peak_megabytes": _megabytes(one)}
            | ({"seconds": round(one["seconds"], 3)} if "seconds" in one else {})
            for name, one in measured.stages.items()
        },
        "transform_growth": [
            {
                "source_units": one["source_units"],
                "source_units_per_second": round(one["source_units"] / one["seconds"], 1),
                "peak_megabytes": _megabytes(one),
            }
            for one in measured.growth
        ],
        "settings": settings | {"process": "one a stage; growth: one slice an entity, no slicing"},
    }


def _megabytes(result: Result) -> float:
    return round(float(result["peak_bytes"]) / 1e6, 1)
