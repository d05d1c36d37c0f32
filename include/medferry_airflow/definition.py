"""The migration that this Airflow runs: named by MEDFERRY_MIGRATION, read once a process.

A DAG file reads the outline alone, a task the whole.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from medferry.definition.outline import Outline, load_outline, migration_folder
from medferry.errors import DefinitionError, MedferryError
from medferry.plan.load import load_plan
from medferry.plan.model import Plan, Wave
from medferry.plan.questions import wave_ids

if TYPE_CHECKING:
    from medferry.definition.migration import Migration

DEFAULT_MIGRATION = "clinics"


def migration_name() -> str:
    """A name under ``include/migrations`` or a folder."""
    return os.environ.get("MEDFERRY_MIGRATION") or DEFAULT_MIGRATION


@cache
def _load(name: str) -> Migration:
    from medferry.definition.migration import load_migration  # what judges is dear, and no DAG file needs it

    return load_migration(name)


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
    return load_plan(migration_folder(migration_name()) / "plan.yaml")


def outline_or_error() -> Outline | MedferryError:
    """The migration's outline, or what is wrong: a DAG file must parse in any case, and show the error on its page."""
    try:
        return load_outline(migration_name())
    except MedferryError as error:
        return error
    except Exception as error:  # noqa: BLE001 -- an engineer's file may hold anything
        folder = migration_folder(migration_name())
        problem = f"reading it raises {type(error).__name__}."
        return DefinitionError(folder, None, problem, "Try `medferry plan check`.")


def waves_of(found: Outline | MedferryError) -> list[Wave]:
    """The plan's waves, also when something other than the plan is broken; none when the plan cannot be read."""
    if isinstance(found, Outline):
        return found.plan.waves
    try:
        return current_plan().waves
    except MedferryError:
        return []


def moving_waves(found: Outline | MedferryError) -> list[str]:
    """The waves whose operations can be moved: `gate.yaml` says `medplum`, whatever else may be broken."""
    if isinstance(found, Outline):
        return wave_ids(found.plan) if found.moves_units else []
    try:
        rules = migration_folder(migration_name()) / "gate.yaml"
    except MedferryError:
        return []
    says = rules.is_file() and any(line.startswith("medplum:") for line in rules.read_text("utf-8").splitlines())
    return [wave.id for wave in waves_of(found)] if says else []
