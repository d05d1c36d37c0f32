"""The migrations that this Airflow serves: those that MEDFERRY_MIGRATION lists, each read once a process.

A DAG file reads the outline alone, a task the whole. Of several, the id of a DAG begins with its migration's name, and
that alone says which one its tasks and its pages are of: no state of a process does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import get_current_context, get_parsing_context

from medferry.definition.outline import Outline, load_outline, migration_folder
from medferry.errors import DefinitionError, MedferryError, SettingsError
from medferry.plan.load import load_plan
from medferry.plan.model import Plan, Wave
from medferry.plan.questions import wave_ids
from medferry.runtime.several import listed_migrations, variables_of
from medferry_airflow.names import own_connection, qualified

if TYPE_CHECKING:
    from medferry.definition.migration import Migration

DEFAULT_MIGRATION = "clinics"


class NotServed(SettingsError):
    """It is not known which of several migrations is meant."""


@dataclass(frozen=True)
class Served:
    """A migration that this Airflow serves. `given`: a name under ``include/migrations`` or a folder."""

    given: str
    alone: bool
    like: str = ""
    """Another's name that does not keep the two apart: the same, or one of which this one's is the end."""

    @property
    def name(self) -> str:
        """That of its folder; of several, its plan has the same."""
        return re.sub(r"\W", "_", Path(self.given).resolve().name)

    def id_of(self, word: str) -> str:
        """The id of a DAG, or whatever else all of Airflow has once: `word`, of several with the name before it."""
        return word if self.alone else qualified(self.name, word)

    def title_of(self, title: str) -> str:
        """The same as people read it."""
        return title if self.alone else f"{self.name}: {title}"

    def connection_of(self, conn_id: str) -> str:
        """The id of its connection."""
        return conn_id if self.alone else own_connection(self.name, conn_id)

    @property
    def folder(self) -> Path:
        """Raises DefinitionError."""
        return migration_folder(self.given)

    @property
    def plan(self) -> Plan:
        """The plan alone, whatever else of the migration may be broken. Raises DefinitionError."""
        return self._checked(load_plan(self.folder / "plan.yaml"))

    @property
    def migration(self) -> Migration:
        """The migration, checked. Raises DefinitionError."""
        found = _load(self.given)
        self._checked(found.plan)
        return found

    @property
    def present_migration(self) -> Migration:
        """The migration by its files as they are now, for a process that outlives a change of them.

        Raises DefinitionError.
        """
        found = self.migration
        if found.files.still_are(found.fingerprint):
            return found
        _load.cache_clear()
        return self.migration

    @property
    def outline(self) -> Outline:
        """Raises what is wrong with it."""
        if isinstance(self._found, MedferryError):
            raise self._found
        return self._found

    @property
    def error(self) -> MedferryError | None:
        """What is wrong with it: a DAG file must parse in any case, and show the error on its page."""
        return self._found if isinstance(self._found, MedferryError) else None

    @property
    def waves(self) -> list[Wave]:
        """The plan's waves, also when something other than the plan is broken; none when the plan cannot be read."""
        if self.error is None:
            return self.outline.plan.waves
        try:
            return self.plan.waves
        except MedferryError:
            return []

    @property
    def moving_waves(self) -> list[str]:
        """The waves whose operations can be moved: `gate.yaml` says `medplum`, whatever else may be broken."""
        if self.error is None:
            return wave_ids(self.outline.plan) if self.outline.moves_units else []
        try:
            rules = self.folder / "gate.yaml"
        except MedferryError:
            return []
        says = rules.is_file() and any(line.startswith("medplum:") for line in rules.read_text("utf-8").splitlines())
        return [wave.id for wave in self.waves] if says else []

    @cached_property
    def _found(self) -> Outline | MedferryError:
        try:
            found = load_outline(self.given)
            self._checked(found.plan)
            variables_of(found.plan.name)
        except MedferryError as error:
            return error
        except Exception as error:  # noqa: BLE001 -- an engineer's file may hold anything
            problem = f"reading it raises {type(error).__name__}."
            return DefinitionError(self.folder, None, problem, "Try `medferry plan check`.")
        return found

    def _checked(self, plan: Plan) -> Plan:
        """Raises DefinitionError where the names of several do not keep them apart."""
        if self.alone or (plan.name == self.name and not self.like):
            return plan
        problem = f"the plan calls it {plan.name}."
        if self.like:
            problem = f"another migration is called {self.like}: the ids of connections would not tell the two apart."
        remedy = "Of several migrations in one Airflow each folder has the name of its plan, and no other's ends so."
        raise DefinitionError(self.folder, None, problem, remedy)


def served_migrations() -> list[Served]:
    """All of them, as MEDFERRY_MIGRATION lists them."""
    given = listed_migrations() or [DEFAULT_MIGRATION]
    every = [Served(one, len(given) == 1) for one in given]
    return [*{one.name: replace(one, like=_like(one, every)) for one in every}.values()]


def _like(one: Served, every: list[Served]) -> str:
    """`medferry_probe_ward_a_b` would be of the probe ward_a of b, and of the probe ward of a_b."""
    others = [other.name for other in every if other is not one]
    return next((name for name in others if _ends(name, one.name) or _ends(one.name, name)), "")


def _ends(name: str, end: str) -> bool:
    return f"_{name}".endswith(f"_{end}")


def drawn_migrations() -> list[Served]:
    """Those whose DAGs a DAG file is to draw: all; in the process of a task its own alone, and no other's files are
    read."""
    every = served_migrations()
    return _of_dag(get_parsing_context().dag_id or "", every) or every


def served_by(dag_id: str) -> Served:
    """The migration of a DAG. Raises NotServed where several are served, and the DAG is of none of them."""
    every = served_migrations()
    if found := _of_dag(dag_id, every):
        return found[0]
    raise NotServed(
        f"The DAG {dag_id} is of no migration that MEDFERRY_MIGRATION lists: {_names(every)}.",
        "Choose a DAG whose id begins with one of them.",
    )


def served_as(name: str) -> Served:
    """The migration of that name; of one alone, that, whatever the name. Raises NotServed."""
    every = served_migrations()
    found = [one for one in every if one.alone or one.name == name]
    if found:
        return found[0]
    raise NotServed(
        f"This Airflow serves several migrations: {_names(every)}.", "Name one of them, and no other, in the address."
    )


def at_work() -> Served:
    """The migration of the task at work; outside of one, the only one. Raises NotServed."""
    try:
        dag_id = get_current_context()["dag"].dag_id
    except (RuntimeError, KeyError):
        dag_id = ""
    return served_by(dag_id)


def current_migration() -> Migration:
    """The migration of the task at work, checked. Raises DefinitionError, NotServed."""
    return at_work().migration


def _of_dag(dag_id: str, every: list[Served]) -> list[Served]:
    return [one for one in every if one.alone or dag_id.startswith(one.id_of(""))]


def _names(every: list[Served]) -> str:
    return ", ".join(one.name for one in every)


@cache
def _load(given: str) -> Migration:
    from medferry.definition.migration import load_migration  # what judges is dear, and no DAG file needs it

    return load_migration(given)
