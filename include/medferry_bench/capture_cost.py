"""What the journal of changes costs the legacy system: single-row inserts with its triggers and without, in one run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from statistics import median
from typing import Any

import sqlalchemy as sa

from demo_clinics import database
from demo_clinics.schema import METADATA
from medferry.definition.migration import load_migration
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.journal import Journal
from medferry.source.database import connect_engine

ENGINES = {"postgresql": database.embedded, "mariadb": database.mariadb}
PAIRS, ROWS = 5, 500
_WARM_UP = 200

Figures = dict[str, Any]


def measure_capture(tell: Callable[[str], None], pairs: int = PAIRS, rows: int = ROWS) -> dict[str, Figures]:
    """Engine → rows a second with the triggers and without, and the cost in per cent: the median of the pairs."""
    found: dict[str, Figures] = {}
    for name in ENGINES:
        tell(f"single-row inserts on {name}, with the triggers and without")
        try:
            found[name] = _of_engine(name, pairs, rows)
        except database.BinariesMissing as missing:
            found[name] = {"not_measured": str(missing)}
    return found


def _of_engine(name: str, pairs: int, rows: int) -> Figures:
    rules = load_migration("clinics").capture
    assert rules is not None
    with _legacy(name) as engine:
        journal, keys, order = journal_of(engine, rules.watched()), count(1), random.Random(name)
        _insert(engine, keys, _WARM_UP)
        rates: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(pairs):
            for captured in order.sample((True, False), 2):
                _switch(engine, journal, captured)
                rates[captured].append(rows / _insert(engine, keys, rows))
    ratios = [without / captured for captured, without in zip(rates[True], rates[False], strict=True)]
    return {
        "cost_percent": round(100 * (median(ratios) - 1), 1),
        "rows_per_second": {"with": round(median(rates[True])), "without": round(median(rates[False]))},
        "pairs": [round(100 * (ratio - 1), 1) for ratio in ratios],
        "settings": {"rows": rows, "a_transaction": "one row", "table": "vitals", "writers": 1},
    }


@contextmanager
def _legacy(name: str) -> Iterator[sa.Engine]:
    with ENGINES[name]() as server:
        engine = connect_engine(server.url)
        METADATA.create_all(engine)
        try:
            yield engine
        finally:
            engine.dispose()


def _switch(engine: sa.Engine, journal: Journal, captured: bool) -> None:
    remove(engine, journal)
    if captured:
        install(engine, journal)


def _insert(engine: sa.Engine, keys: Iterator[int], rows: int) -> float:
    """Seconds of so many inserts, each committed."""
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    statement = sa.insert(METADATA.tables["vitals"])
    with engine.connect() as connection:
        started = time.perf_counter()
        for _ in range(rows):
            row = {"patient_id": 1, "clinic_id": "lakeview", "taken_at": now, "heart_rate": 70, "updated_at": now}
            connection.execute(statement, {"vitals_id": next(keys), **row})
            connection.commit()
        return time.perf_counter() - started
