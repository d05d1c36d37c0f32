"""Wait for another run without a slot: the task is put off, and tries again when its time has come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from airflow.sdk.exceptions import AirflowRescheduleException

from medferry.errors import LeaseHeld
from medferry.runtime import turn
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions

AGAIN_AFTER = timedelta(seconds=30)
"""A place among the waiting lasts 15 minutes without a look: a scheduler that is late loses none."""

T = TypeVar("T")


def in_turn(environment: Environment, run: str, options: RunOptions, dag_run: Any, prepare: Callable[[], T]) -> T:
    """`prepare()`, or put the task off until no other run holds what it needs: for `wait_minutes` of the DAG run.

    A task that slept would keep its slot of the pool from the run that it waits for. Raises what `prepare` raises,
    LeaseHeld when the time is over, RunAborted when an operator has ended the run meanwhile.
    """
    if not options.wait_minutes:
        return prepare()
    over, waits = dag_run.start_date + timedelta(minutes=options.wait_minutes), False
    try:
        return turn.try_once(environment, run, prepare)
    except LeaseHeld as held:
        now = datetime.now(UTC)
        waits = now < over
        if not waits:
            raise
        turn.tell_waiting(run, held)
        raise AirflowRescheduleException(now + AGAIN_AFTER) from None  # type: ignore[no-untyped-call]
    finally:
        if not waits:
            turn.leave(environment, run)
