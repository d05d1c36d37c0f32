"""How a run is prepared in a task: the same care whether it is a new one, a replay or a period."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from airflow.sdk.configuration import conf

from medferry.errors import MedferryError
from medferry.manifest.database import create_manifest
from medferry.manifest.dead_letters import Choice
from medferry.manifest.runs import SliceRow
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.stages.prepare import RunScope, prepare_run, scope_of
from medferry.stages.replay import prepare_replay
from medferry.workflows.finish import give_up
from medferry.workflows.judge import judge_run
from medferry_airflow.definition import current_migration
from medferry_airflow.params import options_among
from medferry_airflow.tasks.environment import environment
from medferry_airflow.turn import in_turn


class TooManySlices(MedferryError):
    """Airflow would refuse to map a task over that many slices."""


def prepare_new(
    run: str, kind: str, units: list[str] | None, chosen: Mapping[str, Any], dag_run: Any
) -> list[SliceRow]:
    """The slices of a new run of `units` (None: those chosen), its leases taken. Waits its turn."""
    scope = scope_of(current_migration(), units or chosen.get("units"), chosen.get("entities"))
    options = options_among(chosen, RunOptions)
    create_manifest(environment().settings.manifest_url)
    return in_turn(environment(), run, options, dag_run, partial(_new, run, kind, scope, options))


def _new(run: str, kind: str, scope: RunScope, options: RunOptions) -> list[SliceRow]:
    if not options.dry_run:
        check_medplum(scope.entities, options)

    def prepare() -> list[SliceRow]:
        judge_run(environment(), run, scope.entities, options.dry_run)
        slices = prepare_run(environment(), run, kind, scope, options)
        check_number(len(slices))
        return slices

    return _or_give_up(run, prepare)


def prepare_again(run: str, chosen: Mapping[str, Any], dag_run: Any) -> list[SliceRow]:
    """The slices of a replay of the chosen dead letters, its leases taken. Waits its turn."""
    options = options_among(chosen, RunOptions)
    return in_turn(environment(), run, options, dag_run, partial(_again, run, chosen, options))


def _again(run: str, chosen: Mapping[str, Any], options: RunOptions) -> list[SliceRow]:
    def prepare() -> list[SliceRow]:
        check_systems(environment(), options.dry_run)
        slices = prepare_replay(environment(), run, chosen.get("run"), letters(chosen), options)
        check_number(len(slices))
        if not options.dry_run:
            check_medplum({one.entity for one in slices}, options)
        return slices

    return _or_give_up(run, prepare)


def _or_give_up(run: str, prepare: Callable[[], list[SliceRow]]) -> list[SliceRow]:
    try:
        return prepare()
    except BaseException as error:
        give_up(environment(), run, error)  # `conclude` does not run after a failed preparation
        raise


def letters(params: Mapping[str, Any]) -> Choice:
    """The dead letters that the params of a replay name."""
    return Choice(tuple(params.get("entities") or ()), tuple(params.get("reasons") or ()))


def check_medplum(entities: Iterable[str], options: RunOptions) -> None:
    """Search each of their resource types once: better to learn now than after hours that Medplum is out of reach.

    Raises MedplumUnavailable, Unauthorised.
    """
    specs = current_migration().specs
    with environment().medplum(options) as client:
        for resource_type in sorted({kind for name in entities for kind in specs[name].produces.values()}):
            client.count(resource_type)


def check_number(slices: int) -> None:
    """Raises TooManySlices."""
    most = conf.getint("core", "max_map_length")
    if slices > most:
        raise TooManySlices(
            f"The run has {slices:,} slices, and Airflow maps a task {most:,} times at most.",
            "Raise the param slice_rows, or AIRFLOW__CORE__MAX_MAP_LENGTH; then trigger a new run.",
        )
