"""The whole measurement: choose lanes, go through the ways in rounds, then what is measured alone."""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medferry_bench import medplum_cli
from medferry_bench.capture_cost import measure_capture
from medferry_bench.corpus import RUN, Corpus
from medferry_bench.extraction import measure_extract
from medferry_bench.in_step import measure_in_step
from medferry_bench.job import Job, Result, run_job
from medferry_bench.ways import DOCUMENTED_LANES, Ways

CEILING_LANES = (1, 2, 4, 8)
LOAD_LANES = (1, 2, 4, 8)

WAYS = ("ceiling", "cli_import", *(f"documented_{lanes}" for lanes in DOCUMENTED_LANES), "load", "end_to_end")
ALONE = ("transform", "extract", "memory", "in_step", "capture")

Tell = Callable[[str], None]


@dataclass(slots=True)
class Measured:
    """Raw results: `rounds` of each way, lanes that were tried (lanes → resources/s), and what is measured alone.

    `extract` has the rounds of each engine, `no_extract` why one was not measured.
    """

    rounds: dict[str, list[Result]] = field(default_factory=lambda: defaultdict(list))
    lanes: dict[str, dict[int, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    stages: dict[str, Result] = field(default_factory=dict)
    growth: list[Result] = field(default_factory=list)
    extract: dict[str, list[Result]] = field(default_factory=dict)
    no_extract: dict[str, str] = field(default_factory=dict)
    in_step: dict[str, Result] = field(default_factory=dict)
    capture: dict[str, Result] = field(default_factory=dict)

    def best_lanes(self, way: str) -> int:
        tried = self.lanes[way]
        return max(tried, key=lambda lanes: tried[lanes])


def measure(
    corpus: Corpus, only: Sequence[str], rounds: int, batch_size: int, sizes: Sequence[int], tell: Tell
) -> Measured:
    """Measure what `only` names, the ways in a new random order each round. Raises JobFailed, WrongNumber."""
    ways, measured = Ways(corpus, batch_size), Measured()
    chosen = [way for way in WAYS if way in only]
    if {"load", "end_to_end", "memory"} & set(only):
        _try_lanes("load", ways.load, LOAD_LANES, measured, corpus, tell)
    if "ceiling" in only:
        _try_lanes("ceiling", ways.ceiling, CEILING_LANES, measured, corpus, tell)
    order = random.Random()
    for number in range(1, rounds + 1):
        for way in order.sample(chosen, len(chosen)):
            if way not in measured.missing:
                tell(f"round {number}: {way}")
                _once(way, ways, measured)
    _alone(corpus, ways, measured, only, rounds, batch_size, sizes, tell)
    _in_step(measured, only, tell)
    return measured


def _try_lanes(
    way: str, run: Callable[[int], Result], lanes: Sequence[int], measured: Measured, corpus: Corpus, tell: Tell
) -> None:
    measured.lanes[way] = {}
    for number in lanes:
        tell(f"{way}: trying {number} lanes")
        measured.lanes[way][number] = round(corpus.resources / run(number)["seconds"], 1)


def _once(way: str, ways: Ways, measured: Measured) -> None:
    if way == "ceiling":
        measured.rounds[way].append(ways.ceiling(measured.best_lanes("ceiling")))
    elif way == "load":
        measured.rounds[way].append(ways.load(measured.best_lanes("load")))
    elif way == "end_to_end":
        first, second = ways.end_to_end_and_rerun(measured.best_lanes("load"))
        measured.rounds["end_to_end"].append(first)
        measured.rounds["rerun"].append(second)
    elif way == "cli_import":
        try:
            medplum_cli.install()
            measured.rounds[way].append(ways.cli_import())
        except medplum_cli.CliUnavailable as error:
            measured.missing[way] = str(error)
    else:
        measured.rounds[way].append(ways.documented(int(way.rpartition("_")[2])))


def _alone(
    corpus: Corpus,
    ways: Ways,
    measured: Measured,
    only: Sequence[str],
    rounds: int,
    batch_size: int,
    sizes: Sequence[int],
    tell: Tell,
) -> None:
    for number in range(1, rounds + 1):
        if "transform" in only:
            tell(f"round {number}: mapping and validation")
            measured.rounds["transform"].append(run_job(Job("map_and_validate", corpus.settings, run_id=RUN)))
    if "extract" in only:
        measured.extract, measured.no_extract = measure_extract(corpus, rounds, batch_size, tell)
    if "memory" in only:
        tell("each stage in a process of its own")
        measured.stages = ways.stages(measured.best_lanes("load"))
        for size in sizes:
            tell(f"transform of {size:,} source records")
            measured.growth.append(_grow(corpus, size))


def _in_step(measured: Measured, only: Sequence[str], tell: Tell) -> None:
    if "in_step" in only:
        measured.in_step = measure_in_step(tell)
    if "capture" in only:
        measured.capture = measure_capture(tell)


def _grow(corpus: Corpus, size: int) -> Result:
    """Copies of the corpus' rows, transformed: the run lives beside the corpus' own and is removed again."""
    run_id = f"grow-{size}"
    try:
        run_job(Job("grow", corpus.settings, folder=RUN, run_id=run_id, number=size))
        return run_job(Job("transform", corpus.settings, run_id=run_id))
    finally:
        shutil.rmtree(Path(corpus.folder, "staging", run_id), ignore_errors=True)
