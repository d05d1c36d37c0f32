"""Tell the plan's stakeholders what happens to a wave: `announce`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.governance.messages import Event
from medferry.manifest.announced import Sending
from medferry.workflows.announce import announce, by_mail, preview

announce_app = typer.Typer()

_STATES = {
    Sending.SENT: "sent",
    Sending.NOT_SENT: "[red]not sent: no address of electronic mail, or the server refused it or is away[/]",
    Sending.BEGUN: "[yellow]perhaps sent: not sent again, ask the recipient[/]",
}


@announce_app.command("announce")
@report_errors
def announce_command(
    wave: Annotated[str, typer.Argument(help="A wave of the plan; `all` where it has none.")],
    event: Annotated[Event, typer.Argument(help="What they are told of.")],
    migration: MigrationOption = "clinics",
    number: Annotated[
        str, typer.Option(help="Of the attempt: each is told of once. Of `scheduled` the window is what counts.")
    ] = "",
    send: Annotated[
        bool, typer.Option("--send", help="Send them; without it they are shown, and none is sent.")
    ] = False,
    smtp: Annotated[
        str, typer.Option(envvar="MEDFERRY_SMTP_URL", help="smtp:// or smtps://user:password@host:port.")
    ] = "",
    sender: Annotated[str, typer.Option("--from", envvar="MEDFERRY_SMTP_FROM", help="The sender's address.")] = "",
) -> None:
    """Show what the plan's stakeholders would be told, or send it by mail; nobody is told twice."""
    environment = environment_of(migration)
    if not send:
        for message in preview(environment, wave, event):
            console.print(f"[bold]To {escape(message.to.contact)}: {escape(message.subject)}[/]", soft_wrap=True)
            console.print(escape(message.text), soft_wrap=True)
        return
    missed = 0
    for told in announce(environment, wave, event, number, by_mail(smtp, sender)):
        before = " before" if told.before else ""
        console.print(f"{escape(told.message.to.name)}: {_STATES[told.state]}{before}", soft_wrap=True)
        missed += told.state is not Sending.SENT
    if missed:
        raise typer.Exit(1)
