"""The pool whose slots bound the tasks that talk to Medplum at once.

A task whose pool does not exist waits for ever, and only the scheduler's log says why; no task can ask Airflow for its
pools. So whichever of Airflow's own processes begins first makes the pool where there is none (a plugin's listener).
"""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl

from medferry.errors import SettingsError
from medferry_airflow.names import POOL

SLOTS = 4

_TEXT = "Tasks that talk to Medplum at once; each may have several batches in flight (param lanes)."


@hookimpl
def on_starting(component: Any) -> None:
    """A process of Airflow begins: the scheduler, the DAG processor or the triggerer (a Job), or a task, which may not
    reach Airflow's database."""
    if type(component).__module__ == "airflow.jobs.job":
        make_pool()


def make_pool() -> None:
    """Make the pool unless it is there: its slots, and all else that somebody has set, stay as they are."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy.exc import IntegrityError

    try:
        with create_session() as session:
            if Pool.get_pool(POOL, session=session) is None:
                session.add(Pool(pool=POOL, slots=SLOTS, description=_TEXT, include_deferred=False))
    except IntegrityError:
        pass  # another process has made it meanwhile


def require_pool() -> None:
    """In a process that may reach Airflow's database. Raises SettingsError where somebody has taken the pool away."""
    from airflow.models.pool import Pool

    if Pool.get_pool(POOL) is None:
        raise SettingsError(
            f"Airflow has no pool {POOL}: the tasks that talk to Medplum wait for ever, and nothing is written.",
            f'Make it: `airflow pools set {POOL} {SLOTS} "{_TEXT}"`, or start the scheduler again, which makes it.',
        )
