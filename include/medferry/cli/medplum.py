"""A Medplum for the author of a migration: `medplum serve`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from medferry.cli.terminal import console, report_errors
from medferry.errors import SettingsError

medplum_app = typer.Typer(no_args_is_help=True, help="A Medplum on this machine, to try a migration on.")


@medplum_app.command("serve")
@report_errors
def medplum_serve(
    data: Annotated[Path | None, typer.Option(help="File that keeps the resources; without it they are lost.")] = None,
    port: Annotated[int, typer.Option(help="TCP port on the loopback address.", min=0, max=65_535)] = 8103,
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
    with EmbeddedMedplum(data=data, port=port or None) as medplum:
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
