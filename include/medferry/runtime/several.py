"""One environment for several migrations: what each of its variables says for one of them.

``{migration}`` in a value stands for the migration's name. Where MEDFERRY_MIGRATION lists several, a variable that
names what no two may have in common must say it: without it two would write into one place, or one into the other's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from medferry.errors import SettingsError
from medferry.runtime.variables import VARIABLES

MIGRATION = "{migration}"

_OWN = re.compile("|".join(name.replace("<NAME>", "[A-Z0-9_]+") for name, one in VARIABLES.items() if one.own))

_STAGING_OF = {
    "MEDFERRY_MANIFEST_URL": "MEDFERRY_STAGING_URL",
    "MEDFERRY_REHEARSAL_MANIFEST_URL": "MEDFERRY_REHEARSAL_STAGING_URL",
}
"""A manifest keeps its migrations apart, and so do the staged files of its runs; those of two manifests are not."""


class SharedByMigrations(SettingsError):
    """A variable names the same for several migrations that may not have it in common."""


def listed_migrations(environment: Mapping[str, str] = os.environ) -> list[str]:
    """What MEDFERRY_MIGRATION says: folders, or names under ``include/migrations``; none where it is not set."""
    parts = environment.get("MEDFERRY_MIGRATION", "").split(",")
    return [part.strip() for part in parts if part.strip()]


def variables_of(migration: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The MEDFERRY_* variables as they hold for one migration, by its plan's name. Raises SharedByMigrations."""
    if len(listed_migrations(environment)) > 1 and (shared := sorted(_shared(environment))):
        raise SharedByMigrations(
            f"MEDFERRY_MIGRATION lists several migrations, and for all of them {', '.join(shared)} is the same.",
            f"Let it say {MIGRATION}, which stands for the migration's name; in Airflow, where it is of a system, make "
            "a connection for each instead: docs/runbooks/several_migrations.md.",
        )
    ours = {name: value for name, value in environment.items() if name.startswith("MEDFERRY_")}
    return {name: value.replace(MIGRATION, migration) for name, value in ours.items()}


def _shared(environment: Mapping[str, str]) -> Iterator[str]:
    """The variables that do not say of which migration they are, and must."""
    said = {name for name, value in environment.items() if MIGRATION in value}
    yield from (name for name, value in environment.items() if value and name not in said and _OWN.fullmatch(name))
    yield from (staging for manifest, staging in _STAGING_OF.items() if manifest in said and staging not in said)
