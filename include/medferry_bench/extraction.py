"""Extract from each engine: the same charts in each, the engines in a new random order each round."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from demo_clinics import database
from demo_clinics.generate import fill
from medferry_bench.corpus import RUN, SEED, Corpus
from medferry_bench.job import Job, Result, run_job

BASIS = "postgresql"
"""The engine of the corpus, beside which the others are shown."""

ENGINES = (BASIS, "mariadb", "sqlite")

Figures = dict[str, Any]


def measure_extract(
    corpus: Corpus, rounds: int, batch_size: int, tell: Callable[[str], None]
) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """Engine → the result of each round, and engine → why it was not measured. Raises JobFailed."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        sources: dict[str, str] = {}
        for name in ENGINES:
            tell(f"extract: the legacy database in {name}")
            try:
                sources[name] = stack.enter_context(_source(name, corpus))
            except database.BinariesMissing as error:
                missing[name] = str(error)
        found: dict[str, list[Result]] = {name: [] for name in sources}
        order = random.Random()
        for number in range(1, rounds + 1):
            for name in order.sample(list(sources), len(sources)):
                tell(f"round {number}: extract from {name}")
                found[name].append(_extract(corpus, sources[name], batch_size))
    return found, missing


@contextmanager
def _source(name: str, corpus: Corpus) -> Iterator[str]:
    """The URL of the corpus' charts in an engine. Raises BinariesMissing."""
    if name == BASIS:
        yield corpus.source_url
        return
    with ExitStack() as stack:
        if name == "mariadb":
            url = stack.enter_context(database.mariadb()).url
        else:
            file = corpus.folder / "legacy.db"
            stack.callback(file.unlink, missing_ok=True)
            url = f"sqlite:///{file}"
        engine = sa.create_engine(url)
        fill(engine, SEED, corpus.patients, pace=0.0)
        engine.dispose()
        yield url


def _extract(corpus: Corpus, source_url: str, batch_size: int) -> Result:
    folder = Path(corpus.folder, "extract")
    settings = corpus.settings_in(folder) | {"source_url": source_url}
    try:
        run_job(Job("prepare", settings, run_id=RUN, batch_size=batch_size))
        extracted = run_job(Job("extract", settings, run_id=RUN))
        return extracted | {"bytes": run_job(Job("row_bytes", settings, run_id=RUN))["bytes"]}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def extract_figures(found: dict[str, list[Result]], missing: dict[str, str], settings: dict[str, Any]) -> Figures:
    """The figures of PostgreSQL, and under ``engines`` those of each engine with its ratio to PostgreSQL."""
    engines: dict[str, Figures] = {name: _rates(rounds) for name, rounds in found.items()}
    for name, figures in engines.items():
        pairs = zip(found[name], found[BASIS], strict=True)
        figures["ratio_to_postgresql"] = round(median(_rate(one) / _rate(basis) for one, basis in pairs), 3)
    told = {"rounds": len(found[BASIS]), "bytes": "of the rows as JSON; they are staged gzipped"}
    return {
        **_rates(found[BASIS]),
        "engines": engines | {name: {"not_measured": why} for name, why in missing.items()},
        "settings": settings | told,
    }


def rows_per_second(figures: Figures) -> dict[str, float]:
    """Engine → rows a second; results of a version that measured PostgreSQL alone have that one."""
    if "not_measured" in figures:
        return {}
    engines = figures.get("engines", {BASIS: figures})
    return {name: one["rows_per_second"] for name, one in engines.items() if "rows_per_second" in one}


def _rates(rounds: list[Result]) -> Figures:
    return {
        "rows_per_second": round(median(_rate(one) for one in rounds), 1),
        "megabytes_per_second": round(median(one["bytes"] / one["seconds"] / 1e6 for one in rounds), 2),
    }


def _rate(one: Result) -> float:
    return float(one["source_units"] / one["seconds"])
