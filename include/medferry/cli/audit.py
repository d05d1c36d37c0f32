"""The chain of acts: `audit verify`, `audit show`."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.errors import MedferryError, OptionError
from medferry.manifest import audit
from medferry.manifest.audit import Head

audit_app = typer.Typer(no_args_is_help=True, help="Who has done and decided what, in a chain that cannot be forged.")

_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


class EvidenceForged(MedferryError):
    """Something in the manifest is not as the chain of acts has it."""


@audit_app.command("verify")
@report_errors
def audit_verify(
    migration: MigrationOption = "clinics",
    head: Annotated[
        str, typer.Option(help="A head that was printed before, NUMBER:HASH: the chain must still hold it.")
    ] = "",
) -> None:
    """Prove that no decision, no finished verification and no act was changed or taken away; prints the head.

    Keep the head where nobody who writes into the manifest can: it alone shows that the end was not cut off.
    """
    environment = environment_of(migration)
    known = _known(head)
    with environment.manifest.begin() as connection:
        found = list(audit.faults(connection, known))
        present = audit.head(connection)
    for fault in found:
        where = f"line {fault.seq}" if fault.seq else "no line"
        about = f" ({fault.subject})" if fault.subject else ""
        console.print(f"[red]{where}{escape(about)}: {escape(fault.problem)}[/]", soft_wrap=True)
    if found:
        raise EvidenceForged(
            f"{len(found)} things are not as the chain of acts has them.",
            "Ask who writes into the manifest's database; compare it with a backup: docs/runbooks/audit.md.",
        )
    console.print(f"{present.count:,} acts, each as it was noted.")
    console.print(f"head {present}", soft_wrap=True, highlight=False)
    if known is None:
        console.print("Whether acts at the end are missing only a head shows that was kept elsewhere (--head).")


@audit_app.command("show")
@report_errors
def audit_show(
    migration: MigrationOption = "clinics",
    limit: Annotated[int, typer.Option(min=1, help="Acts at most.")] = 50,
) -> None:
    """List the newest acts, newest first: when, who, what, about what."""
    environment = environment_of(migration)
    table = Table("line", "at", "actor", "act", "about")
    with environment.manifest.begin() as connection:
        for line in audit.lines(connection, limit):
            table.add_row(str(line.seq), line.at, escape(line.actor), line.act, escape(line.subject))
    console.print(table)


def _known(text: str) -> Head | None:
    """Raises OptionError for what is no head."""
    if not text:
        return None
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise OptionError("The head is not NUMBER:HASH.", "Copy it whole from where it was printed.")
    return Head(int(match[1]), match[2])
