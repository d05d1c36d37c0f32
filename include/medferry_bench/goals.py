"""The goals for the embedded server and how they were met; nothing is rounded in favour of Medferry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medferry_bench.extraction import rows_per_second

PEAK_MEGABYTES = 400
TRANSFORM_RESOURCES = 5_000
VERIFY_POINTS_PERCENT = 3
LAG_P99_SECONDS = 5
CAPTURE_PERCENT = 20
EMPTY_CYCLE_REQUESTS = 10


@dataclass(frozen=True, slots=True)
class Goal:
    """`value` and `wanted` are in the same unit; `least` tells that more is better."""

    text: str
    value: float
    wanted: float
    least: bool = True

    @property
    def met(self) -> bool:
        return self.value >= self.wanted if self.least else self.value <= self.wanted


def goals(figures: dict[str, Any], before: dict[str, Any] | None = None) -> Iterator[Goal]:
    """Every goal whose figures were measured; `before` are the results of an earlier commit on the same machine."""
    rate = {name: one.get("resources_per_second", 0.0) for name, one in figures.items()}
    rate["documented_2"] = figures["documented_4"]["at_two_lanes"].get("resources_per_second", 0.0)
    if before and rate["load"] and (once := before["load"].get("resources_per_second")):
        yield Goal("load ÷ load before", rate["load"] / once, 0.9)
    if before:
        earlier = rows_per_second(before["extract"])
        for name, rows in rows_per_second(figures["extract"]).items():
            if name in earlier:
                yield Goal(f"extract from {name} ÷ extract before", rows / earlier[name], 0.9)
    ratios = [
        ("end_to_end", "ceiling", 0.7),
        *(("load", other, 1.0) for other in ("cli_import", "documented_1", "documented_2", "documented_4")),
    ]
    for one, other, wanted in ratios:
        if rate[one] and rate[other]:
            yield Goal(f"{one} ÷ {other}", rate[one] / rate[other], wanted)
    again, first = (figures[name].get("source_units_per_second", 0.0) for name in ("rerun", "end_to_end"))
    if again and first:
        yield Goal("rerun ÷ end_to_end, in source records", again / first, 20.0)
    if share := figures["verify"].get("percent_of_load_points"):
        yield Goal("verification's points, % of the load's", share, VERIFY_POINTS_PERCENT, least=False)
    if rate["transform"]:
        yield Goal("transform, resources per second and core", rate["transform"], TRANSFORM_RESOURCES)
    if peak := figures["memory"].get("peak_megabytes"):
        yield Goal("peak memory of a stage, MB", peak, PEAK_MEGABYTES, least=False)
    yield from _in_step(figures)


def _in_step(figures: dict[str, Any]) -> Iterator[Goal]:
    found = figures["in_step"]
    if "not_measured" not in found:
        for way in ("forth", "back"):
            lag = found[way]
            yield Goal(f"lag {way}, p99 in seconds", lag["p99_seconds"] or 0.0, LAG_P99_SECONDS, least=False)
            yield Goal(f"values that never arrived {way}", lag["missing"], 0, least=False)
        asked = found["empty"]["requests"]["medplum"]
        yield Goal("requests to Medplum of an empty cycle", asked, EMPTY_CYCLE_REQUESTS, least=False)
    for name, one in figures["capture"].items():
        if isinstance(one, dict) and "cost_percent" in one:
            yield Goal(f"capture on {name}, cost in %", one["cost_percent"], CAPTURE_PERCENT, least=False)
