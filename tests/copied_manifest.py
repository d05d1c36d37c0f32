"""A copy of a manifest as it is now: a backup, to be restored later, or one that somebody has forgotten."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from medferry.runtime.environment import Environment


def copied_manifest(environment: Environment, to: Path) -> Environment:
    """The same systems, with a copy of the SQLite manifest at `to`."""
    own = environment.settings.manifest_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(own)) as present, closing(sqlite3.connect(to)) as copy:
        present.backup(copy)
    return Environment(environment.migration, replace(environment.settings, manifest_url=f"sqlite:///{to}"))
