"""Stop everything: `panic --reason … --person …`, and `panic --lift`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from medferry.cli.terminal import FREE_TEXT, MigrationOption, console, environment_of, report_errors
from medferry.runtime.environment import Environment
from medferry.workflows import panic as panics
from medferry.workflows.cutover import PATIENCE_SECONDS, Choice

panic_app = typer.Typer()


@panic_app.command()
@report_errors
def panic(
    migration: MigrationOption = "clinics",
    person: Annotated[str, typer.Option(help="Who answers for it; kept in the manifest.")] = "",
    reason: Annotated[str, typer.Option(help=f"Why, in a sentence. {FREE_TEXT}")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="Let writing begin again; nothing is started.")] = False,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds in which whoever moves units now can notice and thaw by himself.")
    ] = PATIENCE_SECONDS,
) -> None:
    """Stop the writing of all waves now, and open what is closed and not flipped; without a person, tell how it is.

    Runs at work end after their chunk, and nothing begins until it is lifted. A flipped wave stays flipped. It may be
    said again.
    """
    environment = environment_of(migration)
    if not person and not reason and not lift:
        _show(environment)
    elif lift:
        done = panics.lift(environment, person, reason)
        console.print("Writing may begin again; start what was stopped." if done else "Nothing was held.")
    else:
        panics.panic(environment, panics.Panic(Choice(person, patience=patience), reason, _tell))


def _show(environment: Environment) -> None:
    held = panics.present_panic(environment)
    if held is None:
        console.print("Writing is not held.")
    else:
        said = held.decision
        console.print(
            f"All writing is held since {held.at} by {escape(said.person)}: {escape(said.note)}", soft_wrap=True
        )


def _tell(text: str) -> None:
    console.print(escape(text), soft_wrap=True)
