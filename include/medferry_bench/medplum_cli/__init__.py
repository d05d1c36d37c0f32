"""`medplum bulk import` of `@medplum/cli`, installed by its lock file beside this module."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from embedded_medplum.install import NODE, NPM

FOLDER = Path(__file__).parent
_PROGRAM = FOLDER / "node_modules" / "@medplum" / "cli" / "dist" / "cjs" / "index.cjs"

RESOURCES_A_REQUEST = 25
"""The command's default."""


class CliUnavailable(RuntimeError):
    """The command could not be installed or ended with an error. The text says how."""


def install() -> None:
    """`npm ci` when the package is missing or older than the lock file. Raises CliUnavailable when npm fails."""
    installed = FOLDER / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= (FOLDER / "package-lock.json").stat().st_mtime:
        return
    environment = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(NODE), str(NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CliUnavailable(f"npm ci of @medplum/cli failed with code {done.returncode}: {done.stderr[-500:]}")
    installed.touch()  # npm may keep the time of an older install


def bulk_import(file: Path, base_url: str, client_id: str, client_secret: str) -> float:
    """Run `medplum bulk import FILE`; returns the seconds, the start of Node among them. Raises CliUnavailable."""
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home:  # the command keeps its login in ~/.medplum
        environment = os.environ | {
            "HOME": home,
            "MEDPLUM_BASE_URL": base_url,
            "MEDPLUM_CLIENT_ID": client_id,
            "MEDPLUM_CLIENT_SECRET": client_secret,
        }
        command = [str(NODE), str(_PROGRAM), "bulk", "import", str(file)]
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        seconds = time.perf_counter() - started
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-500:]
        raise CliUnavailable(f"medplum bulk import ended with code {done.returncode}: {said}")
    return seconds
