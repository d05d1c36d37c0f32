"""Whether a run that was begun before may go on: by the same files, the same choice, and only while it is the newest.

Asked before a run is opened again, and by each of its tasks: a task may be cleared days after its run was prepared.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.manifest import runs
from medferry.manifest.runs import RunRow
from medferry.runtime.options import RunOptions, kept_options

OF_THE_ACT = frozenset({"take_over", "wait_minutes"})
"""Options that are about starting or resuming a run, not about what it does."""


class NotContinued(MedferryError):
    """A run that was begun before may not go on. It is left as it was, and nothing is written."""


class OtherMigration(NotContinued):
    """The run, or the identifiers, belong to another migration."""


class Renamed(NotContinued):
    """Identifiers are new while others of their type are made no more: all would be created a second time."""


class Rekeyed(NotContinued):
    """An entity's key is made of something else than when its records were loaded: rows would change places."""


class OtherSystem(NotContinued):
    """A system is not the one that the manifest belongs to. Nothing is written."""


class OtherManifest(NotContinued):
    """Another manifest writes under the same identifiers into the same Medplum."""


class OlderManifest(OtherManifest):
    """A later copy of this very manifest writes into the same Medplum: this one was restored, or is a copy."""


class FilesChanged(NotContinued):
    """The migration's files are not those that the run was started with."""


class LaterRun(NotContinued):
    """A later run has begun to write in this one's scope: what this one has staged may be older than what is there."""


class OtherOptions(NotContinued):
    """Other options were given than those that the run keeps."""


class OtherScope(NotContinued):
    """Other units, entities or dead letters were given than those that the run is about."""


def check_continues(connection: sa.Connection, migration: Migration, run: RunRow) -> None:
    """Raises OtherMigration, FilesChanged, LaterRun. A dry run writes nothing: it may go on behind a later one.

    By the files as this process has read them: `check_files` sees whether they still are these.
    """
    if run.migration != migration.name:
        raise OtherMigration(
            f"Run {run.id} is of the migration {run.migration}, not of {migration.name}.",
            "Name that migration: --migration, or MEDFERRY_MIGRATION, which all of Airflow's processes need alike.",
        )
    if run.fingerprint != migration.fingerprint:
        raise FilesChanged(
            f"Run {run.id} was started with another version of the migration's files.",
            "Start a new run: it maps everything by the present files and writes what differs. "
            "To finish this one, bring its files back.",
        )
    if is_dry(run):
        return
    later = runs.first_later_run(connection, run)
    if later is not None:
        raise LaterRun(
            f"Run {later} was started after run {run.id}, over units and entities of it: what run {run.id} has staged "
            "may be older than what is in Medplum.",
            "Start a new run, which reads the legacy database anew. Nothing is lost: it takes over what was loaded.",
        )


def may_continue(connection: sa.Connection, migration: Migration, run: RunRow) -> bool:
    """Whether `check_continues` raises nothing."""
    try:
        check_continues(connection, migration, run)
    except NotContinued:
        return False
    return True


def check_files(migration: Migration) -> None:
    """Raises FilesChanged when the files are not those that this process has read: a mapping may read them any time."""
    if not migration.files.still_are(migration.fingerprint):
        raise FilesChanged(
            f"The files of the migration {migration.name} were changed while a run was at work.",
            "Start a new run: it maps everything by the present files and writes what differs.",
        )


def check_options(run: RunRow, given: RunOptions) -> None:
    """Raises OtherOptions naming the first option that was `given` (set, whatever its value) and is not the run's."""
    kept = kept_options(run.options)
    for name in sorted(given.model_fields_set - OF_THE_ACT):
        was, now = getattr(kept, name), getattr(given, name)
        if was != now:
            raise OtherOptions(
                f"Run {run.id} was started with {name} = {_told(was)}; {name} = {_told(now)} was given.",
                "A run keeps its options: leave the option out to go on with it, or start a new run with other ones.",
            )


def check_scope(run: RunRow, units: Sequence[str], entities: Sequence[str]) -> None:
    """Raises OtherScope."""
    for kind, was, now in (("units", run.units, units), ("entities", run.entities, entities)):
        if was != list(now):
            raise OtherScope(
                f"Run {run.id} has another scope: its {kind} are {', '.join(was)}, given were {', '.join(now)}.",
                "Name none to go on with the run as it is, or start a new run.",
            )


def is_dry(run: RunRow) -> bool:
    """Whether the run was started to write nothing to Medplum; it never does."""
    return bool(run.options.get("dry_run"))


def _told(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "not set" if value is None else str(value)
