"""The migration that this Airflow runs: named by MEDFERRY_MIGRATION, read once a process."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from medferry.definition.migration import MIGRATIONS_FOLDER, Migration, load_migration
from medferry.errors import DefinitionError, MedferryError
from medferry.plan.load import load_plan
from medferry.plan.model import Wave

DEFAULT_MIGRATION = "clinics"

_load = cache(load_migration)


def migration_name() -> str:
    """A name under ``include/migrations`` or a folder."""
    return os.environ.get("MEDFERRY_MIGRATION") or DEFAULT_MIGRATION


def _folder() -> Path:
    given = Path(migration_name())
    return given if given.is_dir() else MIGRATIONS_FOLDER / given


def current_migration() -> Migration:
    """The migration, checked. Raises DefinitionError."""
    return _load(migration_name())


def current_or_error() -> Migration | MedferryError:
    """The migration, or what is wrong with it: a DAG file must parse in any case, and show the error on its page."""
    try:
        return current_migration()
    except MedferryError as error:
        return error
    except Exception as error:  # noqa: BLE001 -- an engineer's file may hold anything
        return DefinitionError(
            _folder(), None, f"reading it raises {type(error).__name__}.", "Try `medferry plan check`."
        )


def waves_of(found: Migration | MedferryError) -> list[Wave]:
    """The plan's waves, also when something other than the plan is broken; none when the plan cannot be read."""
    if isinstance(found, Migration):
        return found.plan.waves
    try:
        return load_plan(_folder() / "plan.yaml").waves
    except MedferryError:
        return []
