"""Staged source records in any number, made lazily from a small run's rows: copies under new keys.

Each entity is one single slice, however large: the hardest case for the memory of a task.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice
from typing import Any

from medferry.manifest import runs
from medferry.manifest.database import now
from medferry.manifest.runs import RunRow, SliceRow
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.staging import Staging, dump_row
from medferry.source.slices import SliceSpec

_KEYS_APART = 1_000_000_000
"""Added to a copy's number: the demo's keys are far smaller."""


def stage_rows(environment: Environment, model_run: str, run_id: str, number: int) -> int:
    """Write the run `run_id`, extracted, with `number` source records in the proportions of `model_run`.

    Returns how many there are: rounding may cost a few.
    """
    with environment.manifest.begin() as connection:
        model = runs.slices_of(connection, model_run)
        like = runs.get_run(connection, model_run)
    total = sum(one.eligible for one in model)
    by_entity = {name: [one for one in model if one.entity == name] for name in like.entities}
    wanted = {name: number * sum(s.eligible for s in some) // total for name, some in by_entity.items()}
    specs = [
        (some[0].level, SliceSpec(name, tuple(like.units), None, None, wanted[name]))
        for name, some in by_entity.items()
        if wanted[name]
    ]
    options = RunOptions(dry_run=True).model_dump(mode="json")
    row = RunRow(
        run_id, like.migration, "bench", "running", like.units, like.entities, options, like.fingerprint, now(), None
    )
    with environment.manifest.begin() as connection:
        runs.add_run(connection, row, specs)
        slices = runs.slices_of(connection, run_id)
    return sum(_stage(environment, model_run, by_entity[one.entity], one) for one in slices)


def _stage(environment: Environment, model_run: str, model: list[SliceRow], mine: SliceRow) -> int:
    key = environment.migration.entities[mine.entity].key[0]
    rows = islice(_copies(environment.staging(model_run), model, key), mine.eligible)
    staged = environment.staging(mine.run_id).write_rows(mine.id, map(dump_row, rows))
    environment.staging(mine.run_id).write_keys(mine.id, [])
    with environment.manifest.begin() as connection:
        runs.set_stage(connection, mine.run_id, mine.id, runs.SliceStage.EXTRACTED)
    return staged


def _copies(staging: Staging, model: list[SliceRow], key: str) -> Iterator[dict[str, Any]]:
    for copy in count():
        for _, row in chain.from_iterable(staging.read_rows(one.id) for one in model):
            own = row[key]
            yield row | {key: own + copy * _KEYS_APART if isinstance(own, int) else f"{own}-{copy}"}
