"""Whether allergies, medications and problems are the same in both systems: `safety WAVE`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.governance.safety import SafetyLook, clinical_safety, harms
from medferry.workflows.safety import shown_look, wave_safety

safety_app = typer.Typer()


@safety_app.command()
@report_errors
def safety(
    wave: Annotated[str, typer.Argument(help="A wave of the plan; `all` where it has none.")],
    migration: MigrationOption = "clinics",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare a wave's allergies, medications and problems in both systems as they are now; nothing is written.

    Names each that was lost, altered or came back, with the patient's chart; no values. Ends with 1 unless all are the
    same, and where there was nothing to compare.
    """
    environment = environment_of(migration)
    look = wave_safety(environment, wave)
    gate, shown = clinical_safety(look, None), shown_look(environment, look)
    if as_json:
        typer.echo(json.dumps({**asdict(shown), "ok": gate.ok, "evidence": gate.evidence}, indent=1))
    else:
        _show(wave, shown, f"{environment.settings.medplum_base_url.rstrip('/')}/fhir/R4/")
        console.print(f"[green]ok[/] {gate.evidence}" if gate.ok else f"[red]no[/] {escape(gate.evidence)}")
    if not gate.ok:
        raise typer.Exit(1)


def _show(wave: str, look: SafetyLook, medplum: str) -> None:
    if not look.findings:
        return
    table = Table(title=f"Wave {wave}: {harms(look.findings)}", title_justify="left")
    for name in ("", "entity", "key", "in Medplum", "by", "patient", "chart"):
        table.add_column(name, overflow="fold")
    for one in look.findings:
        checks, chart = "; ".join(one.checks), f"{medplum}{one.chart}" if one.chart else ""
        table.add_row(one.harm, one.entity, *map(escape, (one.key, one.place, checks, one.patient, chart)))
    console.print(table)
    console.print("A patient's whole chart, both systems side by side: `medferry charts --key PATIENT`.")
