"""Wait until other runs give back what a run needs, instead of being refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from medferry.errors import LeaseHeld
from medferry.manifest import runs, turns
from medferry.manifest.runs import Control
from medferry.runtime.control import aborted
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often a run that waits looks whether it is its turn, or is to end."""

T = TypeVar("T")


def in_turn(environment: Environment, run_id: str, options: RunOptions, prepare: Callable[[], T]) -> T:
    """`prepare()`, as soon as no other run holds what it needs, within the option `wait_minutes`.

    Raises what `prepare` raises, LeaseHeld when the time is over, RunAborted when an operator ends the run meanwhile.
    """
    if not options.wait_minutes:
        return prepare()
    until, holder = time.monotonic() + 60.0 * options.wait_minutes, ""
    try:
        while True:
            try:
                return try_once(environment, run_id, prepare)
            except LeaseHeld as held:
                if time.monotonic() >= until:
                    raise
                if held.holder != holder:
                    tell_waiting(run_id, held)
                holder = held.holder
            time.sleep(LOOK_SECONDS)
    finally:
        leave(environment, run_id)


def try_once(environment: Environment, run_id: str, prepare: Callable[[], T]) -> T:
    """`prepare()`; where another holds what it needs the run has a place among those that wait, which ends by itself.

    Raises LeaseHeld then, RunAborted when an operator has ended it, and what `prepare` raises.
    """
    name = environment.migration.name
    with environment.manifest.begin() as connection:
        ended = turns.is_ended(connection, name, run_id)
        if ended:
            turns.leave(connection, name, run_id)
    if ended:
        raise aborted(run_id)
    try:
        return prepare()
    except LeaseHeld:
        with environment.manifest.begin() as connection:
            turns.stand(connection, name, run_id)
        raise


def tell_waiting(run_id: str, held: LeaseHeld) -> None:
    log.info("Run %s waits for its turn: %s `medferry abort %s` ends it.", run_id, held.problem, run_id)


def leave(environment: Environment, run_id: str) -> None:
    """To be called when the run waits no more, however that ended. A wish to end it that came last is the run's."""
    name = environment.migration.name
    with environment.manifest.begin() as connection:
        if turns.is_ended(connection, name, run_id):
            runs.set_control(connection, run_id, Control.ABORT)
        turns.leave(connection, name, run_id)
