"""What Medplum has to let Medferry do, and one for the author of a migration: `medplum policy`, `medplum serve`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from medferry.cli.terminal import MigrationOption, console, report_errors
from medferry.definition.access import access_policy
from medferry.definition.migration import load_migration
from medferry.errors import SettingsError

medplum_app = typer.Typer(no_args_is_help=True, help="Medplum: the policy of Medferry's client, and one to try on.")

_NO_QUOTA = 1_000_000_000
"""By Medplum's default a first load of 5,000 rows takes ten minutes, of which nine are spent waiting."""


@medplum_app.command("serve")
@report_errors
def medplum_serve(
    data: Annotated[Path | None, typer.Option(help="File that keeps the resources; without it they are lost.")] = None,
    port: Annotated[int, typer.Option(help="TCP port on the loopback address.", min=0, max=65_535)] = 8103,
    quota: Annotated[
        int,
        typer.Option(
            help="Points a minute; a create costs 100. Medplum's own default is 50000.", min=1, show_default="none"
        ),
    ] = _NO_QUOTA,
) -> None:
    """Serve the embedded Medplum until Ctrl-C; prints the settings that lead to it. Not for patients' data.

    It is Medplum's own router on a repository of ours: include/embedded_medplum/README.md says what differs.
    """
    try:
        from embedded_medplum.server import EmbeddedMedplum  # only where the packages for development are installed
    except ImportError:
        raise SettingsError(
            "The embedded Medplum is not installed here.", "Install requirements-dev.lock: `make install`."
        ) from None
    with EmbeddedMedplum(data=data, port=port or None, quota=quota) as medplum:
        for name, value in (
            ("BASE_URL", medplum.base_url),
            ("CLIENT_ID", medplum.client_id),
            ("CLIENT_SECRET", medplum.client_secret),
        ):
            console.print(f"export MEDFERRY_MEDPLUM_{name}={value}", soft_wrap=True, highlight=False)
        console.print("Serving until Ctrl-C.")
        ends = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # after the start: the server must not inherit it
        signal.sigwait(ends)


@medplum_app.command("policy")
@report_errors
def medplum_policy(
    migration: MigrationOption = "clinics",
    heals: Annotated[bool, typer.Option(help="Let it delete as well, for `medferry heal`.")] = False,
) -> None:
    """Print the AccessPolicy, as JSON, with which Medferry's client can do what the migration needs and nothing else.

    docker/medplum_client.py gives it to a new client; for another, store it in Medplum and name it in the client's
    ProjectMembership.
    """
    sys.stdout.write(json.dumps(access_policy(load_migration(migration), heals), indent=2) + "\n")
