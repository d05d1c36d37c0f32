"""Take down a wave that is over, and verify what is kept of it: `retire`, `evidence verify`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.store.evidence import verify_evidence
from medferry.workflows.retire import Retired, lines_of, retire, told

retire_app = typer.Typer()
evidence_app = typer.Typer(no_args_is_help=True, help="The signed evidence of waves that are over.")


@retire_app.command("retire")
@report_errors
def retire_wave(
    wave: Annotated[str, typer.Argument(help="A wave of the plan; `all` where it has none.")],
    migration: MigrationOption = "clinics",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done; change nothing.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who does it, for the records; by default the user.")] = "",
    evidence: Annotated[
        str, typer.Option(help="Where the archive is written to: a folder or object storage.")
    ] = "build/evidence",
) -> None:
    """Take down a wave that is over: staged files, with the last wave the journal, too; write its signed evidence.

    Refused while anything of it is undecided, or its rollback window runs. May be repeated.
    """
    environment = environment_of(migration)
    if dry_run:
        found, reasons = told(environment, wave)
        for reason in reasons:
            console.print(f"[bold red]Would be refused[/]: {escape(reason)}", soft_wrap=True)
        _show(found, "would be removed")
        return
    found = retire(environment, wave, by.strip() or getpass.getuser(), evidence)
    _show(found, "removed")
    console.print(f"Evidence: {escape(found.archive)}\nSigned by {found.signed_by}", soft_wrap=True)


@evidence_app.command("verify")
@report_errors
def evidence_verify(
    file: Annotated[Path, typer.Argument(help="An archive that `retire` has written.")],
    signed_by: Annotated[str, typer.Option("--signed-by", help="The fingerprint of the key that has to be.")] = "",
) -> None:
    """Verify that an archive is as it was signed, member by member; needs no other system. Ends with 1 where not."""
    fingerprint, members = verify_evidence(file, signed_by)
    console.print(f"Unaltered: {len(members)} members, signed by {fingerprint}.", soft_wrap=True)
    if not signed_by:
        console.print("Whose key that is was not looked at: compare it, or give --signed-by.", soft_wrap=True)


def _show(found: Retired, word: str) -> None:
    for line in lines_of(found, word):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
