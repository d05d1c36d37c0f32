"""Migrate: `run`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from medferry.cli.flags import with_options
from medferry.cli.terminal import (
    NOT_BEGUN,
    Bars,
    MigrationOption,
    ReportFolderOption,
    console,
    environment_of,
    report_errors,
    show_report,
)
from medferry.errors import MedferryError, OptionError
from medferry.manifest import runs
from medferry.manifest.kinds import RunKind
from medferry.plan.model import Plan
from medferry.plan.periods import Period, periods_of
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import RunScope, scope_of
from medferry.workflows.migrate import execute_period, execute_run

run_app = typer.Typer()
Day = typer.Option(formats=["%Y-%m-%d"], metavar="FROM TO", help="Only records dated from FROM until before TO.")
PeriodOption = Annotated[tuple[datetime, datetime] | None, Day]


@run_app.command()
@report_errors
@with_options(RunOptions)
def run(
    migration: MigrationOption = "clinics",
    wave: Annotated[str | None, typer.Option(help="Only the units of this wave.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="Only this unit (and the shared ones); repeatable.")] = None,
    entity: Annotated[list[str] | None, typer.Option(help="Only this entity; repeatable.")] = None,
    period: PeriodOption = None,
    by_period: Annotated[
        bool, typer.Option("--by-period", help="The wave's history: a run for each period, the newest first.")
    ] = False,
    resume: Annotated[str | None, typer.Option(help="Go on with this run, by its own options.")] = None,
    *,
    options: RunOptions,
    report_folder: ReportFolderOption = Path("build/reports"),
) -> None:
    """Migrate: everything, a wave, or chosen units. Running it again changes nothing that is right already."""
    try:
        environment = environment_of(migration)
        plan = environment.migration.plan
        _check_choice(plan, wave, by_period, resume if period else None)
        scope = scope_of(environment.migration, plan.units_of_wave(wave) if wave else unit, entity)
    except MedferryError:
        console.print(NOT_BEGUN)
        raise
    if period or by_period:
        _run_periods(environment, wave, scope, _periods(plan, wave, period, by_period), options, report_folder)
        return
    kind = f"{RunKind.WAVE}_{wave}" if wave else RunKind.WHOLE
    run_id = resume or _new_id(kind)
    if resume:
        with environment.manifest.begin() as connection:
            found = runs.get_run(connection, resume)
        scope = scope if wave or unit or entity else RunScope(found.units, found.entities)
    try:
        with Bars() as tell:
            execute_run(environment, run_id, kind, scope, options, tell)
    finally:
        show_report(environment, run_id, report_folder)


def _check_choice(plan: Plan, wave: str | None, by_period: bool, resumed_period: str | None) -> None:
    """Raises MedferryError, OptionError for what does not go together."""
    waves = [known.id for known in plan.waves]
    if wave is not None and wave not in waves:
        raise MedferryError(f"The plan has no wave {wave}.", f"Its waves: {', '.join(waves)}.")
    if by_period and (wave is None or plan.wave(wave).history is None):
        raise OptionError("The plan has no history for this.", "Name a --wave whose plan says `history`.")
    if resumed_period:
        raise OptionError("A run that is resumed has its period.", "Leave --period out.")


def _periods(plan: Plan, wave: str | None, given: tuple[datetime, datetime] | None, by_period: bool) -> list[Period]:
    """The chosen periods, the newest first. Raises OptionError for a period that is none."""
    first, last = (given[0].date(), given[1].date()) if given else (None, None)
    if first and last and first >= last:
        raise OptionError("The period ends before it begins.", "Give --period FROM TO, the older day first.")
    if not by_period:
        return [Period(first, last)]
    history = plan.wave(str(wave)).history
    assert history is not None
    found = periods_of(history, datetime.now(UTC).date())
    if first and last:
        found = [each for each in found if _overlaps(each, Period(first, last))]
    return found


def _overlaps(period: Period, chosen: Period) -> bool:
    after = period.start is not None and chosen.end is not None and period.start >= chosen.end
    before = period.end is not None and chosen.start is not None and period.end <= chosen.start
    return not after and not before


def _run_periods(
    environment: Environment,
    wave: str | None,
    scope: RunScope,
    periods: list[Period],
    options: RunOptions,
    report_folder: Path,
) -> None:
    """A run for each period that has anything; the first that fails ends it."""
    kind = f"{RunKind.HISTORY}_{wave}" if wave else str(RunKind.HISTORY)
    for period in periods:
        run_id = _new_id(kind)
        try:
            with Bars() as tell:
                there = execute_period(environment, run_id, kind, scope, period, options, tell)
        except BaseException:
            console.print(f"Period {period}: it failed.")
            show_report(environment, run_id, report_folder)
            raise
        console.print(f"Period {period}:" if there else f"Period {period}: nothing to do.")
        if there:
            show_report(environment, run_id, report_folder)


def _new_id(kind: str) -> str:
    return f"{kind}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
