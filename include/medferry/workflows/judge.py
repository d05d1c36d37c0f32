"""What a run is asked before it begins, and not after its load: its systems, the SQL of its checks, its references."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from medferry.definition.foreign_keys import check_references
from medferry.errors import gathered
from medferry.manifest.runs import find_run
from medferry.runtime.environment import Environment
from medferry.runtime.systems import check_systems
from medferry.source.database import snapshot
from medferry.source.lookup import refused_queries
from medferry.verification.written import try_checks


def judge_run(environment: Environment, run_id: str, entities: Iterable[str], dry: bool) -> None:
    """To be asked before the run is prepared; one that has begun is let go on, whatever the legacy schema is by now.

    Raises as `check_systems`; DefinitionError that names every fault, SourceUnavailable; SourceError where an entity's
    own query is refused, which is told before all that follows from it.
    """
    check_systems(environment, dry)
    with environment.manifest.begin() as connection:
        if find_run(connection, run_id) is not None:
            return
    migration, names = environment.migration, list(entities)
    folder, declared = migration.folder / "checks", migration.checks.entities
    with snapshot(environment.source) as view:
        if refused := refused_queries(view, [migration.entities[name] for name in names]):
            raise next(iter(refused.values()))
        attempts: list[Callable[[], object]] = [
            partial(try_checks, view, folder / f"{name}.yaml", declared[name]) for name in names if name in declared
        ]
        attempts.append(partial(check_references, view, migration, names))
        gathered(attempts)
