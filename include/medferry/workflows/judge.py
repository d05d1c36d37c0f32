"""The SQL of the checks, judged by the legacy database before a run begins, and not at the end of its load."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from medferry.errors import gathered
from medferry.manifest.runs import find_run
from medferry.runtime.environment import Environment
from medferry.source.database import snapshot
from medferry.verification.written import try_checks


def judge_checks(environment: Environment, run_id: str, entities: Iterable[str]) -> None:
    """To be asked before the run is prepared; one that has begun is let go on, whatever the database says by now.

    Raises DefinitionError that names every fault, SourceUnavailable.
    """
    with environment.manifest.begin() as connection:
        if find_run(connection, run_id) is not None:
            return
    folder, declared = environment.migration.folder / "checks", environment.migration.checks.entities
    with snapshot(environment.source) as view:
        gathered(
            partial(try_checks, view, folder / f"{name}.yaml", declared[name]) for name in entities if name in declared
        )
