"""What one verification is about: its subject, and how much of it is to be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medferry.definition.checks import EntityChecks
from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.manifest.checks import VerificationRequest
from medferry.manifest.crosswalk import count_resources_of
from medferry.manifest.runs import RunRow, get_run, slices_of
from medferry.manifest.subject import Records, Subject, loaded_units
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions, kept_options
from medferry.verification.options import Sampling


class UnknownSubject(MedferryError):
    """The migration does not know what is to be verified, or nothing of it has been loaded."""


_DEFAULTS = RunOptions()


@dataclass(frozen=True)
class VerificationScope:
    """The subject under verification, with what its parts share. It opens nothing by itself.

    With a `run`, judged is what that run has decided; without, what is true of each record now.
    """

    environment: Environment
    subject: Subject
    choice: Sampling
    units: Mapping[str, frozenset[str]]
    """Entity → its business units that are to be verified, in the order in which the entities are."""
    keys: Mapping[str, frozenset[str]]
    """Entity → its only source keys; entities that are not here are whole."""
    run: RunRow | None = None
    options: RunOptions = _DEFAULTS

    @property
    def entities(self) -> list[str]:
        return list(self.units)

    @property
    def migration(self) -> Migration:
        return self.environment.migration

    @cached_property
    def records(self) -> Records:
        """The source records that both systems are held against."""
        if self.run is not None:
            return Records(self.migration.name, self.run.id)
        return Records(self.migration.name, None, self.subject.units, self.keys)

    def nobody_loads(self, entity: str, unit: str) -> bool:
        """Whether no run was or is about an entity in a unit of the plan: what moves there stays as it was loaded."""
        return unit in self.migration.plan.unit_ids and unit not in self.units[entity] | self._begun.get(entity, set())

    @cached_property
    def _begun(self) -> dict[str, set[str]]:
        """Entity → business units that any run was about, one at work too."""
        with self.environment.manifest.begin() as connection:
            return loaded_units(connection, self.migration.name, at_work_too=True)

    def checks(self, entity: str) -> EntityChecks | None:
        return self.migration.checks.entities.get(entity)

    def systems(self, entity: str) -> dict[str, str]:
        """Slot → identifier system of its resources."""
        return {slot: self.migration.naming.system(entity, slot) for slot in self.migration.specs[entity].produces}

    def type_of(self, entity: str, slot: str) -> str:
        return self.migration.specs[entity].produces[slot]

    def expected_resources(self, entity: str) -> int:
        """How many resources of an entity's records the crosswalk knows."""
        with self.environment.manifest.begin() as connection:
            return count_resources_of(connection, self.records, entity)

    def request(self) -> VerificationRequest:
        """What is kept of it in the manifest: subject, sampling, and the checks as they are run."""
        declared: dict[str, Any] = {}
        for entity in self.entities:
            checks = self.checks(entity)
            if checks:
                declared[entity] = checks.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        run_id = self.run.id if self.run else None
        return VerificationRequest(
            self.migration.name,
            run_id,
            self.subject,
            fingerprint=self.migration.fingerprint,
            sample_share=self.choice.sample_share,
            seed=self.choice.seed,
            validate_all=self.choice.validate_all,
            declared=declared,
        )


def scope_of_run(environment: Environment, run_id: str, choice: Sampling) -> VerificationScope:
    """A run's own subject: its units and entities; of a replay its keys.

    Raises UnknownRun, and UnknownSubject when the plan no longer names one of its entities.
    """
    with environment.manifest.begin() as connection:
        run = get_run(connection, run_id)
        slices = slices_of(connection, run_id)
    if unknown := sorted(set(run.entities) - set(environment.migration.specs)):
        raise UnknownSubject(
            f"Run {run_id} was of entities that the plan no longer names: it has no {unknown[0]}.",
            "Verify what there is now: `medferry verify`, without a run. What that entity has left is told there.",
        )
    keys: dict[str, set[str]] = {}
    for part in slices:
        keys.setdefault(part.entity, set()).update(str(key) for key in part.keys or ())
    whole = {part.entity for part in slices if part.keys is None}
    return VerificationScope(
        environment,
        Subject(run.units, run.entities),
        choice,
        dict.fromkeys(run.entities, frozenset(run.units)),
        {entity: frozenset(found) for entity, found in keys.items() if entity not in whole},
        run,
        kept_options(run.options),
    )


def scope_of_subject(environment: Environment, subject: Subject, choice: Sampling) -> VerificationScope:
    """What of a subject has been loaded, by whichever runs. Raises UnknownSubject.

    Where no entity is named, all are of it in each unit of which anything was loaded: of one that no run was about
    (left out, or new in the plan) each row is missing.
    """
    migration = environment.migration
    _check_names("unit", subject.units, migration.plan.unit_ids)
    _check_names("entity", (*subject.entities, *subject.keys), list(migration.specs))
    with environment.manifest.begin() as connection:
        loaded = loaded_units(connection, migration.name)
    named, begun = set(subject.keys) or set(subject.entities), set[str]().union(*loaded.values())
    units: dict[str, frozenset[str]] = {}
    for entity in (name for level in migration.levels for name in level):
        found = (loaded.get(entity, set()) if named else begun) & set(subject.units or migration.plan.unit_ids)
        if found and (not named or entity in named):
            units[entity] = frozenset(found)
    if not units:
        raise UnknownSubject("Nothing of it has been loaded.", "List the runs with `medferry runs`.")
    keys = {entity: frozenset(found) for entity, found in subject.keys.items()}
    return VerificationScope(environment, subject, choice, units, keys)


def _check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UnknownSubject(f"There is no {kind} {unknown[0]}.", f"Choose from {', '.join(sorted(known))}.")
