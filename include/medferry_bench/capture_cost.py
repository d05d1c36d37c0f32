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
from sqlalchemy.sql import quoted_name

from demo_clinics import database
from demo_clinics.schema import METADATA
from medferry.definition.migration import load_migration
from medferry.source.changes.engines import install, journal_of
from medferry.source.changes.journal import CHANGE, FENCE
from medferry.source.database import connect_engine

ENGINES = {"postgresql": database.embedded, "mariadb": database.mariadb}
BLOCKS, ROWS = 20, 100
_WARM_UP = 200

WITH, WITHOUT = "with", "without"

Figures = dict[str, Any]


def measure_capture(tell: Callable[[str], None], blocks: int = BLOCKS, rows: int = ROWS) -> dict[str, Figures]:
    """Engine → rows a second with the triggers and without, and the cost in per cent: the median of the blocks."""
    found: dict[str, Figures] = {}
    for name in ENGINES:
        tell(f"single-row inserts on {name}, with the triggers and without")
        try:
            found[name] = _of_engine(name, blocks, rows)
        except database.BinariesMissing as missing:
            found[name] = {"not_measured": str(missing)}
    return found


def _of_engine(name: str, blocks: int, rows: int) -> Figures:
    """Inserts go by turns into a table that is watched and into its twin that is not: both meet the same machine."""
    with _tables(name) as (engine, tables):
        keys, order = count(1), random.Random(name)
        _block(engine, tables, keys, order, _WARM_UP)
        found = [_block(engine, tables, keys, order, rows) for _ in range(blocks)]
        with engine.connect() as connection:
            of_records = sa.table(CHANGE, sa.column("entity")).c.entity != FENCE
            logged = connection.scalar(sa.select(sa.func.count()).where(of_records))
        assert int(logged or 0) == _WARM_UP + blocks * rows, "the triggers did not work"
    ratios = [one[WITH] / one[WITHOUT] for one in found]
    return {
        "cost_percent": round(100 * (median(ratios) - 1), 1),
        "rows_per_second": {way: round(rows / median(one[way] for one in found)) for way in (WITH, WITHOUT)},
        "blocks": [round(100 * (ratio - 1), 1) for ratio in ratios],
        "settings": {"blocks": blocks, "rows": rows, "a_transaction": "one row", "table": "vitals", "writers": 1},
    }


@contextmanager
def _tables(name: str) -> Iterator[tuple[sa.Engine, dict[str, sa.Table]]]:
    """A server with the journal installed, a table that it watches, and one of the same form that it does not."""
    rules = load_migration("clinics").capture
    assert rules is not None
    watched = METADATA.tables["vitals"]
    twin = watched.to_metadata(sa.MetaData(), name="vitals_unwatched")
    for index in twin.indexes:
        index.name = quoted_name(f"{index.name}_unwatched", None)
    with ENGINES[name]() as server:
        engine = connect_engine(server.url)
        METADATA.create_all(engine)
        twin.create(engine)
        install(engine, journal_of(engine, rules.watched()))
        try:
            yield engine, {WITH: watched, WITHOUT: twin}
        finally:
            engine.dispose()


def _block(
    engine: sa.Engine, tables: dict[str, sa.Table], keys: Iterator[int], order: random.Random, rows: int
) -> dict[str, float]:
    """Seconds of so many inserts into each table, each committed."""
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    row = {"patient_id": 1, "clinic_id": "lakeview", "taken_at": now, "heart_rate": 70, "updated_at": now}
    seconds = dict.fromkeys(tables, 0.0)
    with engine.connect() as connection:
        for _ in range(rows):
            for way in order.sample(list(tables), len(tables)):
                started = time.perf_counter()
                connection.execute(sa.insert(tables[way]), {"vitals_id": next(keys), **row})
                connection.commit()
                seconds[way] += time.perf_counter() - started
    return seconds
