"""The journal of changes in the legacy database: `capture install`, `check`, `remove`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.definition.inverses import takes_births
from medferry.definition.watched_tables import check_captured
from medferry.errors import MedferryError
from medferry.runtime.environment import Environment
from medferry.source.changes.cuts import writing
from medferry.source.changes.engines import execute, journal_of, not_mended, to_install, to_remove
from medferry.source.changes.expressions import check_expressions
from medferry.source.changes.journal import Journal
from medferry.source.changes.observe import census
from medferry.source.database import snapshot
from medferry.source.objects import LegacyObjects
from medferry.sync.pruning import prune

capture_app = typer.Typer(
    no_args_is_help=True,
    help="Log in the legacy database which records change. MEDFERRY_CAPTURE_URL is its URL with the account that may "
    "write there; without it MEDFERRY_SOURCE_URL is taken.",
)
ApplyOption = Annotated[bool, typer.Option("--apply", help="Execute the statements instead of printing them.")]


@capture_app.command("install")
@report_errors
def capture_install(migration: MigrationOption = "clinics", apply: ApplyOption = False) -> None:
    """Print the statements that make the journal and its triggers, or mend them, for the DBA to read and run."""
    environment = environment_of(migration)
    journal = _journal(environment)
    with writing(environment.capture, journal) as connection:
        check_captured(connection, environment.migration, journal)
    change_objects(environment, journal, to_install, apply)
    for problem in not_mended(environment.capture, journal):
        console.print(f"-- Not mended by this: {problem}.", soft_wrap=True, highlight=False, markup=False)


@capture_app.command("remove")
@report_errors
def capture_remove(migration: MigrationOption = "clinics", apply: ApplyOption = False) -> None:
    """Print the statements that remove everything that `install` made, the journal's content too."""
    environment = environment_of(migration)
    change_objects(environment, _journal(environment), to_remove, apply)


@capture_app.command("check")
@report_errors
def capture_check(migration: MigrationOption = "clinics") -> None:
    """Check that every trigger is as the definition says and at work, and list who has written what."""
    environment = environment_of(migration)
    journal = _journal(environment)
    with snapshot(environment.source) as connection:
        check_captured(connection, environment.migration, journal)
        check_expressions(connection, journal.expressions(connection))
        journal.check(connection)
        lines = census(connection)
    console.print(f"Capture is complete: {len(journal.watched)} tables.")
    table = Table(title="Who has written what since the journal began", title_justify="left")
    for name in ("account", "application", "entity", "changes"):
        table.add_column(name, justify="right" if name == "changes" else "left")
    for line in lines:
        table.add_row(line.who, line.application, line.entity, f"{line.changes:,}")
    console.print(table)


@capture_app.command("prune")
@report_errors
def capture_prune(
    migration: MigrationOption = "clinics",
    older_than: Annotated[int, typer.Option(min=0, help="Days; the census forgets what is deleted.")] = 30,
) -> None:
    """Delete from the journal what every wave has taken and is old; what a wave still needs stays."""
    number = prune(environment_of(migration), older_than)
    console.print(f"Deleted {number:,} changes from the journal.")


def change_objects(
    environment: Environment,
    objects: LegacyObjects,
    needed: Callable[[sa.Engine, LegacyObjects], list[str]],
    apply: bool,
) -> None:
    """Print the statements that are needed, or execute them."""
    statements = needed(environment.capture, objects)
    if not statements:
        console.print("Nothing to do.")
    elif apply:
        execute(environment.capture, objects, statements)
        console.print(f"Done: {len(statements)} statements.")
    else:
        console.print(f"-- {objects.rights}", soft_wrap=True, highlight=False, markup=False)
        for line in objects.script(statements):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        console.print("-- Nothing was executed: repeat with --apply, or have the DBA run it.", soft_wrap=True)


def _journal(environment: Environment) -> Journal:
    """Raises MedferryError when the migration says nothing of capture."""
    rules = environment.migration.capture
    if rules is None:
        raise MedferryError(
            f"The migration {environment.migration.name} has no capture.yaml.", "Write one: docs/runbooks/capture.md."
        )
    return journal_of(environment.capture, rules.watched(), takes_births(environment.migration.inverses))
