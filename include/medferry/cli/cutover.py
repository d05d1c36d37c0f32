"""Move a wave's operations: `cutover <wave>`, `cutover prepare`, `cutover status`, `rollback <wave>`."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import FREE_TEXT, MigrationOption, console, environment_of, group_with_default, report_errors
from medferry.cutover.acts import Act
from medferry.cutover.machine import Outcome
from medferry.errors import OptionError
from medferry.governance.readiness import ACCEPTABLE
from medferry.manifest.consents import Consent
from medferry.manifest.cutovers import Direction
from medferry.manifest.rehearsals import Measured
from medferry.runtime.environment import Environment
from medferry.runtime.rehearsal import rehearsal_of
from medferry.workflows.cutover import PATIENCE_SECONDS, Choice, cut_over, prepare, roll_back, told
from medferry.workflows.cutover_conditions import check_ready
from medferry.workflows.cutover_status import WaveCutover, cutover_status
from medferry.workflows.leave_behind import leave_behind
from medferry.workflows.panic import present_panic
from medferry.workflows.readiness import accept, readiness
from medferry.workflows.rehearse import rehearse

cutover_app = typer.Typer(
    cls=group_with_default("wave"),
    help="Move the units of a wave to Medplum, with no write lost: `cutover WAVE`, `cutover status`.",
)
rollback_app = typer.Typer()
WaveArgument = Annotated[str, typer.Argument(help="A wave of the plan; `all` where it has none.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it, for the records; by default the user.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Tell every act; write and close nothing.")]
RehearseOption = Annotated[
    bool,
    typer.Option(
        "--rehearse",
        help="Measure the freeze against another Medplum (MEDFERRY_REHEARSAL_…); close and flip nothing.",
    ),
]
FreezeOption = Annotated[
    float,
    typer.Option(min=0, help="Seconds until a freeze ends by itself. 0: as the plan's downtime says, else a minute."),
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="NAME=REASON",
        help=f"What --by accepts as it is now, as `readiness accept` does ({', '.join(ACCEPTABLE)}); repeatable. "
        f"{FREE_TEXT}",
    ),
]
LeaveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="WHAT=REASON",
        help="Leave a write in Medplum that the last rollback could not prove, for people to do by hand; needs --by, "
        f"repeatable. {FREE_TEXT}",
    ),
]
PatienceOption = Annotated[float, typer.Option(min=1, help="Seconds to wait for those who write a unit now.")]

_ENDS = {
    Outcome.FLIPPED: "The units are written in Medplum.",
    Outcome.NOT_FLIPPED: "Not flipped, nothing changed: the units are written in the legacy database.",
    Outcome.RETURNED: "The units are written in the legacy database, with all that was written in Medplum.",
    Outcome.NOT_RETURNED: "The units are written in Medplum, as before.",
}


@cutover_app.command("wave")
@report_errors
def cutover(
    wave: WaveArgument,
    migration: MigrationOption = "clinics",
    dry_run: DryRunOption = False,
    rehearsed: RehearseOption = False,
    freeze: FreezeOption = 0.0,
    patience: PatienceOption = PATIENCE_SECONDS,
    by: ByOption = "",
    accepted: AcceptOption = None,
) -> None:
    """Move a wave's units to Medplum, or go on where an attempt has stopped.

    Refused while a condition of `readiness` does not hold, unless a freeze has begun. What fails before the flip thaws:
    the legacy database is written as before, and the next attempt needs no load.
    """
    environment, choice = environment_of(migration), _choice(freeze, patience, by)
    consents = _consents(accepted or ())
    if rehearsed and (dry_run or consents):
        raise OptionError("A rehearsal asks no condition and is no dry run.", "Give --rehearse alone.")
    if rehearsed:
        _tell_measured(rehearse(environment, rehearsal_of(environment), wave, choice))
        return
    if dry_run:
        _tell_conditions(environment, wave)
        told(environment, wave, Direction.FORTH, choice)
        return
    if consents and not by.strip():
        raise OptionError("A person must answer for what is accepted.", "Name him: --by.")
    for gate, reason in consents:
        accept(environment, wave, gate, Consent.ACCEPTED, by.strip(), reason)
    choice = replace(choice, ready=lambda: check_ready(environment, wave))
    console.print(_ENDS[cut_over(environment, wave, choice)])


@cutover_app.command("prepare")
@report_errors
def cutover_prepare(wave: WaveArgument, migration: MigrationOption = "clinics", by: ByOption = "") -> None:
    """Let nobody write a wave's units in Medplum until its cutover, and prove it."""
    units = prepare(environment_of(migration), wave, _choice(0.0, PATIENCE_SECONDS, by))
    console.print(f"Nobody can write in Medplum what belongs to {units}.")


@cutover_app.command("status")
@report_errors
def cutover_show(
    migration: MigrationOption = "clinics",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell where each unit is written, by its gates, and whether a rollback would be safe."""
    environment = environment_of(migration)
    found = cutover_status(environment)
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], indent=2))
        return
    if held := present_panic(environment):
        console.print(f"[bold red]All writing is held[/] since {held.at} by {escape(held.decision.person)}.")
    for one in found:
        _show(one)


@rollback_app.command()
@report_errors
def rollback(
    wave: WaveArgument,
    migration: MigrationOption = "clinics",
    dry_run: DryRunOption = False,
    patience: PatienceOption = PATIENCE_SECONDS,
    by: ByOption = "",
    accept: LeaveOption = None,
) -> None:
    """Move a wave's units back, with all that was written in Medplum since; before the flip, thaw them.

    Where a write in Medplum is not in the legacy database nothing is moved, and it is told by name; then a named
    person may leave it behind, in exactly the state that was refused.
    """
    environment, choice = environment_of(migration), _choice(0.0, patience, by)
    if accept and dry_run:
        raise OptionError("A dry run decides nothing.", "Leave out --accept, or --dry-run.")
    if accept:
        leave_behind(environment, wave, dict(_consents(accept)), by)
    if dry_run:
        _tell_unsafe(environment, wave)
        told(environment, wave, Direction.BACK, choice)
    else:
        console.print(_ENDS[roll_back(environment, wave, choice)])


def _consents(given: Sequence[str]) -> list[tuple[str, str]]:
    """(Condition, reason) of each NAME=REASON. Raises OptionError."""
    parts = [one.partition("=") for one in given]
    if any(not sign for _, sign, _ in parts):
        raise OptionError("What is accepted needs a reason.", "Write --accept NAME=REASON, with a sentence for it.")
    return [(name.strip(), reason.strip()) for name, _, reason in parts]


def _tell_conditions(environment: Environment, wave: str) -> None:
    """The dry run goes on: what it tells is wanted long before all conditions hold."""
    for gate in readiness(environment, wave):
        if not gate.ok:
            console.print(f"[bold red]Would be refused[/]: {gate.name}: {escape(gate.evidence)}", soft_wrap=True)


def _choice(freeze: float, patience: float, by: str) -> Choice:
    return Choice(by.strip() or getpass.getuser(), freeze, patience, _tell)


def _tell_measured(measured: Measured) -> None:
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in measured.parts.items())
    forecast = "not known" if measured.forecast is None else f"{measured.forecast:.1f} s"
    console.print(f"Rehearsed, nothing flipped: a freeze would take {measured.freeze:.1f} s ({parts}).", soft_wrap=True)
    console.print(f"The forecast was {forecast}. Recorded for `medferry readiness`.")


def _tell(act: Act, text: str) -> None:
    console.print(f"{act:>14}  {escape(text)}", soft_wrap=True)


def _tell_unsafe(environment: Environment, wave: str) -> None:
    for one in cutover_status(environment):
        if one.wave == wave:
            _unsafe(one)


def _show(found: WaveCutover) -> None:
    table = Table(title=f"Wave {found.wave}", title_justify="left")
    for name in ("unit", "written in", "legacy gate", "Medplum", "epoch", "since", "fault"):
        table.add_column(name)
    for one in found.units:
        epoch = "" if one.epoch is None else str(one.epoch)
        table.add_row(one.unit, one.place or "unknown", one.legacy, one.medplum, epoch, one.since, escape(one.fault))
    console.print(table)
    if found.running:
        console.print(f"[bold]An attempt came to no end[/] ({found.running}): run the same command again.")
    for what in found.unproven:
        console.print(f"[bold]Kept the rollback back[/]: {escape(what)}", soft_wrap=True)
    for what, decided in found.left_behind.items():
        console.print(f"[bold]Left in Medplum, to do by hand[/]: {escape(what)} ({escape(decided)})", soft_wrap=True)
    _unsafe(found)


def _unsafe(found: WaveCutover) -> None:
    for reason in found.unsafe:
        console.print(f"[bold red]Rollback unsafe[/]: {escape(reason)}", soft_wrap=True)
