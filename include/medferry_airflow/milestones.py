"""When a run tells other DAGs how far its waves have got: of what is whole alone, with counts and nothing else."""

from __future__ import annotations

from typing import Any

from medferry.definition.migration import Migration
from medferry.manifest.accounting import accounts
from medferry.manifest.kinds import RunKind
from medferry.manifest.runs import RunRow, get_run
from medferry.manifest.source_records import DISPOSITIONS
from medferry.plan.questions import wave_ids
from medferry.runtime.continuing import is_dry
from medferry.runtime.environment import Environment
from medferry_airflow.assets import WAVES, Milestone, asset_of


def whole_waves(migration: Migration, run: RunRow) -> list[str]:
    """The waves that a run has moved with all of their units and entities; none of a dry run, a replay, a period."""
    plan = migration.plan
    if is_dry(run) or run.kind not in (RunKind.WAVE, RunKind.BIG_BANG) or set(migration.entities) - set(run.entities):
        return []
    units = {wave: plan.units_of_wave(wave) if plan.waves else plan.unit_ids for wave in wave_ids(plan)}
    return [wave for wave, own in units.items() if set(own) <= set(run.units)]


def tell_milestone(environment: Environment, run_id: str, milestone: Milestone, outlet_events: Any) -> None:
    """Add the events of a run to those of the task at work; Airflow keeps them when the task succeeds.

    Each carries the run's id and its source records by disposition, nothing else.
    """
    with environment.manifest.begin() as connection:
        run = get_run(connection, run_id)
        waves = whole_waves(environment.migration, run)
        rows = accounts(connection, run_id) if waves else []
    counts = {name: sum(int(getattr(row, name)) for row in rows) for name in ("eligible", *DISPOSITIONS)}
    for wave in waves:
        asset = asset_of(environment.migration.name, wave, milestone)
        outlet_events[WAVES].add(asset, extra={"run": run_id, **counts})
