"""What both systems changed differently: `conflicts list`, `conflicts show`, `conflicts decide`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import FREE_TEXT, MigrationOption, console, environment_of, group_with_default, report_errors
from medferry.errors import MedferryError
from medferry.fhir.sides import Side
from medferry.manifest.conflict_decisions import sides_of
from medferry.manifest.conflicts import LIVE, Conflict, ConflictState, list_conflicts
from medferry.source.shown_keys import shown_name
from medferry.workflows.conflicts import ShownConflict, decide, show

conflicts_app = typer.Typer(
    cls=group_with_default("list"),
    help="What both systems changed differently, and what was decided about it. `list` is the default.",
)
NumberArgument = Annotated[int, typer.Argument(metavar="ID", help="As `medferry conflicts list` shows it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


@conflicts_app.command("list")
@report_errors
def list_all(
    migration: MigrationOption = "clinics",
    wave: Annotated[str, typer.Option(help="Only those of this wave.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also those that are applied or superseded.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List conflicts, the oldest first: which elements of which resource, who is to decide, by when. No values."""
    environment = environment_of(migration)
    states = tuple(ConflictState) if everything else LIVE
    with environment.manifest.begin() as connection:
        found = list_conflicts(connection, environment.migration.name, states, wave)
        sides = sides_of(connection, found)
    if as_json:
        typer.echo(json.dumps([_as_json(one, sides[one.id]) for one in found], indent=2))
        return
    table = Table(title=f"{len(found)} conflict(s)", title_justify="left")
    for name in ("id", "state", "record", "in Medplum", "elements", "found", "owner", "due"):
        table.add_column(name, overflow="fold", justify="right" if name == "id" else "left")
    for one in found:
        elements = "\n".join(_element(path, sides[one.id].get(path)) for path in one.paths)
        place = f"{one.resource_type}/{one.medplum_id}"
        cells = (str(one.id), one.state, _record(one), place, elements, one.found_at[:16])
        table.add_row(*map(Text, (*cells, one.owner, one.due)))
    console.print(table)
    if any(one.state is ConflictState.OPEN for one in found):
        console.print("see both sides: medferry conflicts show ID; decide: medferry conflicts decide ID --legacy …")


@conflicts_app.command("show")
@report_errors
def show_one(number: NumberArgument, migration: MigrationOption = "clinics", as_json: JsonOption = False) -> None:
    """Show both sides of a conflict side by side. It prints PATIENT DATA, to this terminal alone."""
    found = show(environment_of(migration), number)
    conflict = found.conflict
    if as_json:
        typer.echo(json.dumps(_shown_as_json(found), indent=2, ensure_ascii=False))
        return
    title = f"Conflict {conflict.id}, {conflict.state}: {_record(conflict)}"
    table = Table(title=Text(f"{title}, {conflict.resource_type}/{conflict.medplum_id}"), title_justify="left")
    for name in ("element", "both knew", "legacy", "Medplum"):
        table.add_column(name, overflow="fold")
    for place in found.places:
        table.add_row(*map(Text, (place.path, _value(place.base), _value(place.legacy), _value(place.medplum))))
    console.print(table)
    if not found.places:
        console.print("No values are kept any more.")
    for path, made in sorted(found.decided.items()):
        told = f"{path}: {made.decision.verdict} wins, by {made.decision.person}, {made.at}: {made.decision.note}"
        console.print(told, soft_wrap=True, markup=False)


@conflicts_app.command("decide")
@report_errors
def decide_one(
    number: NumberArgument,
    migration: MigrationOption = "clinics",
    legacy: Annotated[bool, typer.Option("--legacy", help="The legacy database's values stand.")] = False,
    medplum: Annotated[bool, typer.Option("--medplum", help="Medplum's values stand.")] = False,
    path: Annotated[
        list[str] | None, typer.Option(help="Only of this element, as `list` shows it; repeatable. None: of all.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who decides.")] = "",
    reason: Annotated[str, typer.Option(help=f"Why. {FREE_TEXT}")] = "",
) -> None:
    """Decide whose values stand. The next cycle does it, if neither side has moved; until then another decision may
    take its place."""
    if legacy is medplum:
        raise MedferryError("A decision is for one side.", "Give --legacy or --medplum.")
    side = Side.LEGACY if legacy else Side.MEDPLUM
    state = decide(environment_of(migration), number, side, path or (), by, reason)
    follows = "the next cycle does it" if state is ConflictState.DECIDED else "other elements are still open"
    console.print(f"Conflict {number} is {state}: {follows}.")


def _record(one: Conflict) -> str:
    return f"{one.unit}/{shown_name(one.entity, one.key)}"


def _element(path: str, side: Side | None) -> str:
    return f"{path} ({side})" if side else path


def _value(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_json(one: Conflict, sides: dict[str, Side]) -> dict[str, Any]:
    return one.as_json() | {"decided": sides}


def _shown_as_json(found: ShownConflict) -> dict[str, Any]:
    decided = {path: Side(made.decision.verdict) for path, made in found.decided.items()}
    places = [
        {"path": one.path, "base": one.base, "legacy": one.legacy, "medplum": one.medplum} for one in found.places
    ]
    return _as_json(found.conflict, decided) | {"places": places}
