"""What waits for a second person: `four-eyes list`, `four-eyes refuse`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import FREE_TEXT, MigrationOption, console, environment_of, report_errors
from medferry.workflows.four_eyes import refuse, waiting

four_eyes_app = typer.Typer(no_args_is_help=True, help="Acts that the plan lets two people approve: what waits.")


@four_eyes_app.command("list")
@report_errors
def four_eyes_list(migration: MigrationOption = "clinics") -> None:
    """List what one person has said and a second has not: who, when, and in which words."""
    table = Table("number", "act", "about", "by", "account", "at", "words")
    for word in waiting(environment_of(migration)):
        said = (word.act, word.about, word.said.person, word.actor, word.at, word.said.note)
        table.add_row(str(word.number), *map(escape, said))
    console.print(table)


@four_eyes_app.command("refuse")
@report_errors
def four_eyes_refuse(
    number: Annotated[int, typer.Argument(help="As `four-eyes list` has it.")],
    reason: Annotated[str, typer.Option(help=f"Why, in a sentence. {FREE_TEXT}")],
    migration: MigrationOption = "clinics",
    by: Annotated[str, typer.Option("--by", help="Your name in the plan; the account decides who you are.")] = "",
) -> None:
    """Say no to what somebody has said, or take back one's own word: it counts no more, and nothing was done."""
    refused = refuse(environment_of(migration), number, by, reason)
    console.print(f"Refused: {refused.act} ({escape(refused.about)}), which {escape(refused.said.person)} has wanted.")
