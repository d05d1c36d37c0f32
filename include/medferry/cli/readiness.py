"""Whether a wave may be cut over: `readiness WAVE`, `readiness accept`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import FREE_TEXT, MigrationOption, console, environment_of, group_with_default, report_errors
from medferry.governance.readiness import ACCEPTABLE, ReadinessGate
from medferry.manifest.consents import Consent
from medferry.workflows.readiness import accept, readiness

readiness_app = typer.Typer(
    cls=group_with_default("show"),
    help="Whether a wave may be cut over now, gate by gate with its evidence: `readiness WAVE`.",
)
WaveArgument = Annotated[str, typer.Argument(help="A wave of the plan; `all` where it has none.")]


@readiness_app.command("show")
@report_errors
def readiness_show(
    wave: WaveArgument,
    migration: MigrationOption = "clinics",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at every gate of a wave's cutover; nothing is written. Ends with 1 unless all are ok."""
    found = readiness(environment_of(migration), wave)
    if as_json:
        typer.echo(json.dumps([asdict(gate) for gate in found], indent=1))
    else:
        _show(wave, found)
    if not all(gate.ok for gate in found):
        raise typer.Exit(1)


@readiness_app.command("accept")
@report_errors
def readiness_accept(
    wave: WaveArgument,
    gate: Annotated[str, typer.Argument(help=f"What is accepted as it is now: {', '.join(ACCEPTABLE)}.")],
    by: Annotated[str, typer.Option(help="Who answers for it; kept in the manifest.")],
    reason: Annotated[str, typer.Option(help=f"Why. {FREE_TEXT}")],
    migration: MigrationOption = "clinics",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it back.")] = False,
) -> None:
    """Let a named person decide about a gate. It holds for exactly what the gate is about now, and no longer."""
    consent = Consent.WITHDRAWN if withdraw else Consent.ACCEPTED
    accept(environment_of(migration), wave, gate, consent, by, reason)
    console.print(f"{gate} of {wave}: {consent} by {escape(by)}.")


def _show(wave: str, found: list[ReadinessGate]) -> None:
    table = Table(title=f"May wave {wave} be cut over?", title_justify="left")
    for name in ("gate", "", "evidence", "what to do"):
        table.add_column(name, overflow="fold")
    for gate in found:
        word = "[green]ok[/]" if gate.ok else "[red]no[/]"
        table.add_row(gate.name, word, escape(gate.evidence), escape(gate.remedy))
    console.print(table)
    left = [gate.name for gate in found if not gate.ok]
    console.print(f"[red]no: {len(left)} of {len(found)} gates are not ok[/]" if left else "[green]yes[/]")
