"""The gates of the units in the legacy database: `gate install`, `check`, `remove`, `show`, `close`, `open`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from medferry.cli.capture import ApplyOption, change_objects
from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.definition.watched_tables import check_gated
from medferry.errors import MedferryError
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_gate import legacy_gate
from medferry.source.changes.cuts import writing
from medferry.source.changes.engines import to_install, to_remove
from medferry.source.changes.expressions import check_expressions
from medferry.source.database import snapshot
from medferry.source.gate.gate import Gate, GateState, UnitGate

gate_app = typer.Typer(
    no_args_is_help=True,
    help="Let nobody write a unit in the legacy database for a while, as for the last load of a wave. "
    "MEDFERRY_CAPTURE_URL is its URL with the account that may; without it MEDFERRY_SOURCE_URL is taken.",
)
UnitArgument = Annotated[str, typer.Argument(help="A unit of the plan.")]


@gate_app.command("install")
@report_errors
def gate_install(migration: MigrationOption = "clinics", apply: ApplyOption = False) -> None:
    """Print the statements that make the gates, all open, and their triggers, for the DBA to read and run."""
    environment = environment_of(migration)
    gate = _gate(environment)
    with writing(environment.capture, gate) as connection:
        check_gated(connection, environment.migration, gate)
    change_objects(environment, gate, to_install, apply)


@gate_app.command("remove")
@report_errors
def gate_remove(migration: MigrationOption = "clinics", apply: ApplyOption = False) -> None:
    """Print the statements that remove the gates: whatever was closed is open then."""
    environment = environment_of(migration)
    change_objects(environment, _gate(environment), to_remove, apply)


@gate_app.command("check")
@report_errors
def gate_check(migration: MigrationOption = "clinics") -> None:
    """Check that every unit has its gate, and every trigger is as the definition says and at work."""
    environment = environment_of(migration)
    gate = _gate(environment)
    with snapshot(environment.source) as connection:
        check_gated(connection, environment.migration, gate)
        check_expressions(connection, gate.expressions(connection))
    with writing(environment.capture, gate) as connection:
        gate.check(connection)
    console.print(f"The gates are complete: {len(gate.units)} units, {len(gate.gated)} tables.")


@gate_app.command("show")
@report_errors
def gate_show(migration: MigrationOption = "clinics") -> None:
    """Show each unit's gate as the legacy database's own clock sees it."""
    environment = environment_of(migration)
    gate = _gate(environment)
    with writing(environment.capture, gate) as connection:
        found = gate.all(connection)
    table = Table(title="Who may write in the legacy database", title_justify="left")
    for name in ("unit", "gate", "epoch", "opens by itself in"):
        table.add_column(name, justify="right" if name == "epoch" else "left")
    for one in found:
        table.add_row(one.unit, one.state, str(one.epoch), _left(one))
    console.print(table)


@gate_app.command("close")
@report_errors
def gate_close(
    unit: UnitArgument,
    minutes: Annotated[float, typer.Option(min=0.1, help="Until it opens by itself, on the legacy database's clock.")],
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for those who write it now.")] = 30,
    migration: MigrationOption = "clinics",
) -> None:
    """Refuse all writes of a unit, once those in flight have ended. Closing it again renews its time."""
    environment = environment_of(migration)
    gate = _gate(environment, unit)
    with writing(environment.capture, gate) as connection:
        gate.check(connection)
        epoch = gate.read(connection, unit).epoch
    closed = gate.close(environment.capture, unit, epoch, minutes * 60, patience)
    console.print(f"{unit} is closed: nobody writes it. It opens by itself in {_left(closed)}.")


@gate_app.command("open")
@report_errors
def gate_open(unit: UnitArgument, migration: MigrationOption = "clinics") -> None:
    """Let a unit be written again."""
    environment = environment_of(migration)
    gate = _gate(environment, unit)
    with writing(environment.capture, gate) as connection:
        epoch = gate.read(connection, unit).epoch
    gate.open(environment.capture, unit, epoch)
    console.print(f"{unit} is open.")


def _gate(environment: Environment, unit: str = "") -> Gate:
    """Raises MedferryError when the migration says nothing of gates, or has no such unit."""
    gate, units = legacy_gate(environment), environment.migration.plan.unit_ids
    if unit and unit not in units:
        raise MedferryError(f"The plan has no unit {unit}.", f"Its units: {', '.join(units)}.")
    return gate


def _left(gate: UnitGate) -> str:
    if gate.state is GateState.SHUT:
        return "never: it is written in Medplum"
    if gate.seconds_left is None:
        return ""
    minutes, seconds = divmod(int(gate.seconds_left), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
