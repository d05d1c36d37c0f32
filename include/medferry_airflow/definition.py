"""The migration that this Airflow runs: named by MEDFERRY_MIGRATION, read once a process."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from medferry.definition.migration import MIGRATIONS_FOLDER, Migration, load_migration
from medferry.errors import DefinitionError, MedferryError
from medferry.plan.load import load_plan
from medferry.plan.model import Plan, Wave
from medferry.plan.questions import wave_ids

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


def present_migration() -> Migration:
    """The migration by its files as they are now, for a process that outlives a change of them.

    Raises DefinitionError.
    """
    found = current_migration()
    if found.files.still_are(found.fingerprint):
        return found
    _load.cache_clear()
    return current_migration()


def current_plan() -> Plan:
    """The plan alone, whatever else of the migration may be broken. Raises DefinitionError."""
    return load_plan(_folder() / "plan.yaml")


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
        return current_plan().waves
    except MedferryError:
        return []


def moving_waves(found: Migration | MedferryError) -> list[str]:
    """The waves whose operations can be moved: `gate.yaml` says `medplum`, whatever else may be broken."""
    if isinstance(found, Migration):
        return wave_ids(found.plan) if found.gate is not None and found.gate.medplum is not None else []
    rules = _folder() / "gate.yaml"
    says = rules.is_file() and any(line.startswith("medplum:") for line in rules.read_text("utf-8").splitlines())
    return [wave.id for wave in waves_of(found)] if says else []
