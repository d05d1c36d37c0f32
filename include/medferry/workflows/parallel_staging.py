"""Stage all slices of a run on this machine: in a process for each core, all of which die with their parent.

Processes are forked, so that they have the very mappings of their parent, whatever became of the files since. Where
forking is not safe (any system but Linux), or there is too little to do, slices are staged one after the other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from medferry.errors import StagingError
from medferry.manifest.runs import SliceRow
from medferry.runtime.environment import Environment
from medferry.stages.extract import extract_slice
from medferry.stages.transform import transform_slice
from medferry.workflows.order import READERS

WORTH_A_PROCESS = 2_000
"""Rows; so few are staged sooner than a process begins to be of use."""

_LOOK_SECONDS = 0.2
"""How often a process looks whether its parent lives."""

Progress = Callable[[str, str, int], None]
"""Called with (stage, entity, rows) when a slice has passed a stage."""


def stage_slices(environment: Environment, run_id: str, slices: Sequence[SliceRow], progress: Progress) -> None:
    """Extract and transform `slices`; returns when all are staged.

    Raises what the first to fail has raised, when the slices at work have come to their end; no more are begun then.
    StagingError when a process was killed.
    """
    processes = min(os.cpu_count() or 1, len(slices), sum(slice_.eligible for slice_ in slices) // WORTH_A_PROCESS)
    if processes < 2 or sys.platform != "linux":
        for slice_ in slices:
            rows = extract_slice(environment, run_id, slice_.id)
            progress("extract", slice_.entity, rows)
            transform_slice(environment, run_id, slice_.id)
            progress("transform", slice_.entity, slice_.eligible)
        return
    # No connection is open in two processes: SQLite's locks and PostgreSQL's streams belong to one alone.
    environment.manifest.dispose()
    environment.source.dispose()
    context = multiprocessing.get_context("fork")
    arguments = (os.getpid(), environment, run_id, context.BoundedSemaphore(READERS))
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=arguments) as pool:
        staged = {pool.submit(_stage, slice_.id): slice_ for slice_ in _largest_first(slices)}
        try:
            for future in as_completed(staged):
                entity, eligible = staged[future].entity, staged[future].eligible
                progress("extract", entity, future.result())
                progress("transform", entity, eligible)
        except BrokenProcessPool:
            raise StagingError(
                f"A process that staged slices of run {run_id} was killed, perhaps for want of memory.",
                "Go on with the same run; smaller slices (slice_rows) take less memory.",
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _largest_first(slices: Sequence[SliceRow]) -> list[SliceRow]:
    """So that no process is left alone with a large slice at the end."""
    return sorted(slices, key=lambda slice_: -slice_.eligible)


_work: tuple[Environment, str, Any] | None = None
"""What a process stages: environment, run, and the places of those that may read the legacy database."""


def _begin(parent: int, environment: Environment, run_id: str, readers: Any) -> None:
    global _work  # noqa: PLW0603 -- the only way from a pool's initializer to its tasks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets a slice come to its end
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    _work = Environment(environment.migration, environment.settings), run_id, readers


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _stage(slice_id: str) -> int:
    assert _work is not None
    environment, run_id, readers = _work
    with readers:
        rows = extract_slice(environment, run_id, slice_id)
    transform_slice(environment, run_id, slice_id)
    return rows
