"""The pepper: `key`, `pepper show`, `pepper protect`, `pepper forget`."""

from __future__ import annotations

from typing import Annotated

import typer

from medferry.cli.terminal import MigrationOption, console, entity_of, environment_of, report_errors, settings_of
from medferry.manifest.database import open_manifest
from medferry.manifest.peppers import peppers_of
from medferry.workflows.given_key import digests_of
from medferry.workflows.pepper import described, forget, protect_all

key_app = typer.Typer()
pepper_app = typer.Typer(no_args_is_help=True, help="The secret without which hashes and shown keys cannot be tried.")


@key_app.command("key")
@report_errors
def show_digest(
    entity: Annotated[str, typer.Argument(help="Of which the key is.")],
    key: Annotated[str, typer.Argument(help="A source key, as the manifest writes it.")],
    migration: MigrationOption = "clinics",
) -> None:
    """Tell what reports and lists show instead of a source key; with several peppers the newest's first."""
    environment = environment_of(migration)
    for digest in digests_of(environment, entity_of(environment.migration, entity).name, key):
        console.print(digest, highlight=False)


@pepper_app.command("show")
@report_errors
def show(migration: MigrationOption = "clinics") -> None:
    """Tell which pepper protects the manifest's hashes, and which ones it needs. Shows no pepper."""
    settings = settings_of(migration)
    console.print(f"hashes: {described(settings.pepper)}", highlight=False)
    with open_manifest(settings.manifest_url, settings.pepper).connect() as connection:
        needed = sorted(peppers_of(connection))
    console.print(f"the manifest needs: {', '.join(needed) or 'none'}", highlight=False)


@pepper_app.command("protect")
@report_errors
def protect(migration: MigrationOption = "clinics") -> None:
    """Protect all hashes by the newest pepper: plain ones, and those of older peppers, which are needed no more then.

    Reads and changes the manifest alone. May be said again, also when it was killed.
    """
    changed = protect_all(environment_of(migration))
    for table, number in changed.items():
        console.print(f"{table}: {number:,}", highlight=False)
    console.print(f"{sum(changed.values()):,} rows protected anew.")


@pepper_app.command("forget")
@report_errors
def forget_lost(
    lost: Annotated[str, typer.Argument(metavar="ID", help="As `medferry pepper show` names it.")],
    migration: MigrationOption = "clinics",
) -> None:
    """Give up the hashes of a pepper that is lost for good: the next run writes their records once more.

    What others have changed in Medplum before cannot be told from what was written: people decide.
    """
    changed = forget(settings_of(migration), lost)
    console.print(f"{sum(changed.values()):,} rows have no hash of the pepper {lost} any more.")
