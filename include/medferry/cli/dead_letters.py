"""Dead letters, the history of one record, their replay: `dead-letters`, `history`, `replay`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from medferry.cli.flags import with_options
from medferry.cli.terminal import (
    Bars,
    MigrationOption,
    ReportFolderOption,
    RunArgument,
    chosen_run,
    console,
    environment_of,
    report_errors,
    show_report,
)
from medferry.errors import MedferryError
from medferry.manifest.dead_letters import Choice, DeadLetter, DeadLetterGroup, dead_letter_groups, dead_letters
from medferry.manifest.history import HistoryEntry, history
from medferry.manifest.runs import get_run
from medferry.mapping.outcomes import Reason
from medferry.runtime.continuing import OtherScope
from medferry.runtime.environment import Environment
from medferry.runtime.options import NOT_IN_REPLAY, RunOptions
from medferry.source.shown_keys import shown_key, shown_name, shown_place
from medferry.stages.replay import anything_to_replay
from medferry.workflows.given_key import key_given
from medferry.workflows.replay import execute_replay

dead_letters_app = typer.Typer()

EntityOption = Annotated[list[str] | None, typer.Option("--entity", help="Only this entity; repeatable.")]
ReasonOption = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; repeatable.")]
DispositionOption = Annotated[
    list[str] | None, typer.Option("--disposition", help="rejected or quarantined; both by default.")
]


def _choice(entity: list[str] | None, reason: list[str] | None, disposition: list[str] | None) -> Choice:
    return Choice(tuple(entity or ()), tuple(reason or ()), tuple(disposition or ()))


@dead_letters_app.command("dead-letters")
@report_errors
def list_dead_letters(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    entity: EntityOption = None,
    reason: ReasonOption = None,
    disposition: DispositionOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Lines at most; 0 for all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """List what a run rejected or quarantined, why, and what is true of it now. Shows no patient data."""
    environment = environment_of(migration)
    name, run_id = environment.migration.name, chosen_run(environment, run_id)
    choice = _choice(entity, reason, disposition)
    with environment.manifest.begin() as connection:
        get_run(connection, run_id)
        groups = dead_letter_groups(connection, name, run_id, choice)
    letters = dead_letters(environment.manifest, name, environment.migration.systems, run_id, choice)
    shown = islice(letters, limit or None)
    if as_json:
        _write_json(run_id, groups, shown)
    elif not groups:
        console.print(f"No dead letters of that kind in {run_id}.", soft_wrap=True)
    else:
        _show_groups(run_id, groups)
        _show_letters(list(shown), sum(group.count for group in groups))


def _write_json(run_id: str, groups: list[DeadLetterGroup], letters: islice[DeadLetter]) -> None:
    """``{"run", "groups": […], "dead_letters": […]}``, a line a dead letter, written as they are read."""
    group_list = orjson.dumps([asdict(group) for group in groups]).decode()
    sys.stdout.write(f'{{"run": {orjson.dumps(run_id).decode()}, "groups": {group_list}, "dead_letters": [')
    for number, letter in enumerate(letters):
        told = {**asdict(letter), "key": shown_key(letter.entity, letter.key), "place": _place(letter)}
        sys.stdout.write(("," if number else "") + "\n" + orjson.dumps(told).decode())
    sys.stdout.write("\n]}\n")


def _show_groups(run_id: str, groups: list[DeadLetterGroup]) -> None:
    table = Table(title=f"dead letters of {run_id}", title_justify="left")
    for name in ("entity", "disposition", "reason", "source records", "settled since"):
        table.add_column(name, justify="right" if name.startswith("s") else "left")
    for group in groups:
        table.add_row(group.entity, group.disposition, group.reason, f"{group.count:,}", f"{group.settled:,}")
    console.print(table)


def _show_letters(letters: list[DeadLetter], of: int) -> None:
    table = Table()
    for name in ("entity", "key", "unit", "disposition", "reason", "field", "place", "mapping", "attempts", "now"):
        table.add_column(name, justify="right" if name == "attempts" else "left", overflow="fold")
    for letter in letters:
        key = shown_key(letter.entity, letter.key)
        what = (letter.entity, key, letter.unit, letter.disposition, letter.reason, letter.field)
        cells = (*what, _place(letter), letter.mapping_version, str(letter.attempts), letter.now)
        table.add_row(*map(Text, cells))
    console.print(table)
    if len(letters) < of:
        console.print(f"{len(letters):,} of {of:,}: --limit 0 shows all.")


@dead_letters_app.command("history")
@report_errors
def show_history(entity: str, key: str, migration: MigrationOption = "clinics") -> None:
    """Tell what every run made of one source record, and every attempt at its targets, oldest first."""
    environment = environment_of(migration)
    key = key_given(environment, entity, key)
    found = _history(environment, entity, key)
    table = Table(title=Text(shown_name(entity, key)), title_justify="left")
    for name in ("run", "time", "what", "status", "reason", "mapping"):
        table.add_column(name, overflow="fold")
    for entry in found:
        for sent in entry.attempts:
            slot = sent.system.removeprefix(f"{environment.migration.naming.base}/")
            table.add_row("", sent.at, f"{sent.action} {slot}", str(sent.status or "no answer"), escape(sent.reason))
        why = " ".join(part for part in (entry.reason, entry.field, _place(entry)) if part)
        table.add_row(
            entry.run_id, entry.started_at, f"[bold]{entry.disposition}[/]", "", escape(why), entry.mapping_version
        )
        table.add_section()
    console.print(table)


def _place(of: DeadLetter | HistoryEntry) -> str:
    return shown_place(of.reason == Reason.UNRESOLVED_REFERENCE, of.place)


def _history(environment: Environment, entity: str, key: str) -> list[HistoryEntry]:
    migration = environment.migration
    with environment.manifest.begin() as connection:
        found = history(connection, migration.name, migration.systems.get(entity, []), entity, key)
    if not found:
        raise MedferryError(
            f"No run of {migration.name} has met a source record {shown_name(entity, key)}.",
            "Check the entity and the key.",
        )
    return found


@dead_letters_app.command()
@report_errors
@with_options(RunOptions, without=NOT_IN_REPLAY)
def replay(
    run_id: Annotated[
        str | None, typer.Argument(help="Run whose dead letters to replay; the newest by default.")
    ] = None,
    migration: MigrationOption = "clinics",
    entity: EntityOption = None,
    reason: ReasonOption = None,
    disposition: DispositionOption = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this replay, by its own options.")] = None,
    *,
    options: RunOptions,
    report_folder: ReportFolderOption = Path("build/reports"),
) -> None:
    """Run the dead letters of a run again, as a run of their own; exactly those that no later run has settled."""
    environment = environment_of(migration)
    new = resume or f"replay.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    choice = _choice(entity, reason, disposition)
    if resume:
        with environment.manifest.begin() as connection:
            found = get_run(connection, resume)
        if entity or reason or disposition or run_id not in (None, found.replays):
            raise OtherScope(f"Replay {resume} has its rows already.", "Name none to go on with it, or start another.")
    if not anything_to_replay(environment, new, run_id, choice):
        console.print("Nothing to replay: no dead letter of that kind is left.")
        return
    try:
        with Bars() as tell:
            execute_replay(environment, new, run_id, choice, options, tell)
    finally:
        show_report(environment, new, report_folder)
