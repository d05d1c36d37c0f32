"""A run by what an operator calls it: its id, the id that Airflow's UI shows of its DAG run, or "the one at work"."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest import leases
from medferry.manifest.runs import IS_CUT, RunRow, UnknownRun, dag_run_of, find_run
from medferry.manifest.tables import run


class AmbiguousRun(MedferryError):
    """More than one run may be meant."""


def run_called(connection: sa.Connection, migration: str, name: str) -> RunRow:
    """The migration's run of that id, or that the DAG run of that id has made. Raises UnknownRun, AmbiguousRun.

    A DAG run that has made several, as each began anew, means the newest of them.
    """
    found = find_run(connection, name)
    if found is not None and found.migration == migration:
        return found
    shown = run.c.id.contains(f".{name}", autoescape=True)
    statement = sa.select(run).where(run.c.migration == migration, shown).order_by(run.c.started_at.desc())
    rows = [RunRow(**row._mapping) for row in connection.execute(statement)]
    by_dag = {one.id: dag_run_of(one.id, f".{name}") for one in rows}
    made = [one for one in rows if (dag := by_dag[one.id]) and "." not in dag]
    if not made:
        raise UnknownRun(
            f"The migration {migration} has no run {name}.",
            "List the runs with `medferry runs`; the id of a DAG run as Airflow shows it is understood, too.",
        )
    if len({by_dag[one.id] for one in made}) > 1:
        raise _ambiguous(f"Several DAGs have made a run {name}", made)
    return made[0]


def run_at_work(connection: sa.Connection, migration: str) -> RunRow:
    """The migration's only run that has not ended. Raises UnknownRun, AmbiguousRun.

    Where a killed one has not ended either, the one whose leases live is meant. Cuts of the synchronisation are not.
    """
    statement = sa.select(run).where(run.c.migration == migration, run.c.finished_at.is_(None), sa.not_(IS_CUT))
    found = [RunRow(**row._mapping) for row in connection.execute(statement.order_by(run.c.started_at.desc()))]
    if not found:
        raise UnknownRun("No run is at work.", "List the runs with `medferry runs`.")
    alive = [one for one in found if leases.alive(connection, one.id)]
    if len(found) > 1 and len(alive) != 1:
        raise _ambiguous("Several runs have not ended", found)
    return found[0] if len(found) == 1 else alive[0]


def _ambiguous(problem: str, found: Sequence[RunRow]) -> AmbiguousRun:
    names = ", ".join(one.id for one in found[:5])
    return AmbiguousRun(f"{problem}: {names}{', …' if len(found) > 5 else ''}.", "Name the one that is meant.")
