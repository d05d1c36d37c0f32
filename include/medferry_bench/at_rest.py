"""`python -m medferry_bench.at_rest`: what encryption costs extract and transform, as a ratio of throughput."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Annotated

import typer

from medferry_bench.corpus import Corpus, corpus
from medferry_bench.job import Job, run_job

GOAL = 0.9
"""Of the throughput without a key."""

_BATCH = 200


def main(
    patients: Annotated[int, typer.Option(min=1, help="Made-up patients; about 25 source records each.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Pairs, with and without a key; the median is told.")] = 5,
) -> None:
    """Stage the demo's source again and again, with a key and without, in random order within each pair."""
    with tempfile.TemporaryDirectory(prefix="bench-at-rest-") as place, corpus(Path(place), patients, _BATCH) as made:
        ratios = [_pair(made) for _ in range(rounds)]
    typer.echo(f"with a key / without, rows a second: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    median = statistics.median(ratios)
    typer.echo(f"median {median:.3f} (goal: at least {GOAL}); load {os.getloadavg()[0]:.1f}")
    raise typer.Exit(0 if median >= GOAL else 1)


def _pair(made: Corpus) -> float:
    seconds = {}
    for sealed in random.sample((True, False), 2):
        seconds[sealed] = _staged(made, b64encode(os.urandom(32)).decode() if sealed else "")
    return seconds[False] / seconds[True]


def _staged(made: Corpus, key: str) -> float:
    """Seconds of extract and transform together."""
    with tempfile.TemporaryDirectory(prefix="bench-at-rest-") as place:
        settings = made.settings_in(Path(place)) | {"store_keys": key}
        run_job(Job("prepare", settings, run_id="r", batch_size=_BATCH))
        done = [run_job(Job(kind, settings, run_id="r", batch_size=_BATCH)) for kind in ("extract", "transform")]
        return sum(float(one["seconds"]) for one in done)


if __name__ == "__main__":
    typer.run(main)
