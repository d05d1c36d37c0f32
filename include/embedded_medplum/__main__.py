"""`python -m embedded_medplum`: runs the embedded server in the foreground until it is interrupted."""

import argparse
import signal
import sys
from pathlib import Path

from embedded_medplum.server import EmbeddedMedplum


def main() -> None:
    """Starts the server, says where it is, and waits for Ctrl+C or SIGTERM."""
    options = _parse(sys.argv[1:])
    with EmbeddedMedplum(**vars(options)) as medplum:
        sys.stdout.write(
            f"base URL       {medplum.base_url}\n"
            f"FHIR base      {medplum.base_url}fhir/R4/\n"
            f"client id      {medplum.client_id}\n"
            f"client secret  {medplum.client_secret}\n"
            f"log            {medplum.log_file}\n"
            f"pid            {medplum.pid}\n"
        )
        sys.stdout.flush()
        ends = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # after the start: the server must not inherit it
        signal.sigwait(ends)


def _parse(arguments: list[str]) -> argparse.Namespace:
    defaults = EmbeddedMedplum()
    parser = argparse.ArgumentParser(prog="embedded_medplum", description=__doc__)
    parser.add_argument("--data", type=Path, help="SQLite file that keeps the data; without it memory only")
    parser.add_argument("--port", type=int, default=8103)
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--base-url", default="", help="URL clients use, when it is not the listening address")
    parser.add_argument("--log-file", type=Path)
    parser.add_argument("--client-id", default=defaults.client_id)
    parser.add_argument("--client-secret", default=defaults.client_secret)
    for name in ("quota", "quota_window", "token_limit", "expires_in"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    for name in ("transaction_bundles", "check_references", "faults"):
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
