"""Run control: pause, resume or abort a run at work, by a flag in the manifest that all its workers obey.

A worker looks at the flag between two pieces of work, so that what it has begun is finished and recorded first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

from medferry.errors import MedferryError
from medferry.manifest import audit, leases, runs, turns
from medferry.manifest.audit import Act
from medferry.manifest.run_names import run_at_work, run_called
from medferry.manifest.runs import Control, RunRow, RunStatus
from medferry.runtime.environment import Environment
from medferry.runtime.hold import Hold
from medferry.runtime.options import ControlAction

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""A process looks at a run's flag at most this often while it is not set."""

POLL_SECONDS = 3.0
"""How often a paused process looks whether it may go on; it renews the leases each time."""


class RunAborted(MedferryError):
    """An operator ended the run. Trying the same step again does not help."""


class NotAtWork(MedferryError):
    """The run is over, or being aborted: it is too late to control it."""


@dataclass
class _Watch:
    """What this process knows of one run's flag. The lock lets one lane look, or wait, for all of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    looked_at: float = float("-inf")


_watches: dict[tuple[str, str], _Watch] = defaultdict(_Watch)


def checkpoint(environment: Environment, run: RunRow) -> None:
    """To be called between two pieces of work: returns at once, or waits while the run is paused.

    Raises RunAborted; LeaseLost when another run took over during the pause.
    """
    watch = _watches[environment.settings.manifest_url, run.id]
    with watch.lock:
        if time.monotonic() - watch.looked_at < LOOK_SECONDS:
            return
        paused = False
        while flag := _flag(environment, run.id):
            if flag == Control.ABORT:
                raise aborted(run.id)
            if not paused:
                log.warning("Run %s is paused; its leases are kept. `medferry resume` lets it go on.", run.id)
                paused = True
            Hold(environment, run).keep()
            time.sleep(POLL_SECONDS)
        if paused:
            log.warning("Run %s goes on.", run.id)
        watch.looked_at = time.monotonic()


def is_aborted(environment: Environment, run_id: str) -> bool:
    """Whether an operator wants the run to end."""
    return _flag(environment, run_id) == Control.ABORT


def heed_abort(environment: Environment, run_id: str) -> None:
    """To be called during a wait that has nothing to finish. Raises RunAborted."""
    if is_aborted(environment, run_id):
        raise aborted(run_id)


def aborted(run_id: str) -> RunAborted:
    """What a worker of an aborted run ends with."""
    return RunAborted(
        f"Run {run_id} was aborted by its operator. What was loaded is recorded and stays.",
        "Start a new run when it may go on: it writes nothing twice.",
    )


def _flag(environment: Environment, run_id: str) -> str:
    with environment.manifest.begin() as connection:
        return runs.get_run(connection, run_id).control


def controlled_run(environment: Environment, name: str | None) -> str:
    """The id of the run that an operator means: by its id or its DAG run's, or without a name the one at work.

    Raises UnknownRun, AmbiguousRun.
    """
    migration = environment.migration.name
    with environment.manifest.begin() as connection:
        for waiting in turns.waiting_runs(connection, migration) if name else ():
            if waiting == name or waiting.endswith(f".{name}"):
                return waiting
        return (run_called(connection, migration, name) if name else run_at_work(connection, migration)).id


def pause(environment: Environment, run_id: str) -> None:
    """Let every worker of a run finish its chunk, then wait. Raises UnknownRun, NotAtWork."""
    _set(environment, run_id, Control.PAUSE)


def resume(environment: Environment, run_id: str) -> None:
    """Let a paused run go on. Raises UnknownRun, NotAtWork."""
    _set(environment, run_id, Control.NONE)


def abort(environment: Environment, run_id: str) -> None:
    """Let every worker of a run, paused or not, finish its chunk, then fail; a run whose workers are dead ends here.

    One that waits for its turn ends when it looks next. Raises UnknownRun, NotAtWork.
    """
    with environment.manifest.begin() as connection:
        if turns.end(connection, environment.migration.name, run_id):
            return
    _set(environment, run_id, Control.ABORT)
    with environment.manifest.begin() as connection:
        if not leases.alive(connection, run_id):
            runs.finish_run(connection, run_id, RunStatus.ABORTED)
            leases.release(connection, run_id)


CONTROLS = {ControlAction.PAUSE: pause, ControlAction.RESUME: resume, ControlAction.ABORT: abort}
"""What each does."""


_ACTS = {Control.PAUSE: Act.PAUSED, Control.ABORT: Act.ABORTED, Control.NONE: Act.RESUMED}


def _set(environment: Environment, run_id: str, flag: Control) -> None:
    with environment.manifest.begin() as connection:
        found = runs.get_run(connection, run_id)
        if found.finished_at is not None:
            raise NotAtWork(f"Run {run_id} is over ({found.status}).", "Nothing; to load again, start a new run.")
        if found.control == Control.ABORT and flag != Control.ABORT:
            raise NotAtWork(f"Run {run_id} is being aborted.", "Wait until it is over, then start a new run.")
        audit.append(connection, _ACTS[flag], f"run/{run_id}")  # before the run's row is locked, as decisions do
        runs.set_control(connection, run_id, flag)
