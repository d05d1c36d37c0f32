"""The manifest's database: `manifest grants`."""

from __future__ import annotations

import sys

import typer

from medferry.cli.terminal import report_errors
from medferry.manifest.grants import roles_sql

manifest_app = typer.Typer(no_args_is_help=True, help="The manifest's database.")


@manifest_app.callback()
def _group() -> None:
    """A group, though it has one command."""


@manifest_app.command("grants")
@report_errors
def manifest_grants() -> None:
    """Print the SQL that gives PostgreSQL the roles medferry_work, medferry_decide and medferry_read.

    For psql, as the owner of the tables; again after each upgrade. What was decided, verified and noted nobody changes
    afterwards, the owner neither.
    """
    sys.stdout.write(roles_sql())
