"""Which records hang on a patient: by the mappings' declared references, and by the checks' own SQL in the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from medferry.errors import MedferryError
from medferry.manifest.runs import RunRow
from medferry.mapping.declare import MappingSpec
from medferry.verification.legacy import LegacyReader
from medferry.verification.scope import VerificationScope

Reference = tuple[str, str]
"""(entity that is referred to, SQL expression of its key)."""


class NoPatients(MedferryError):
    """The migration has no entity, or several, whose rows are patients."""


def patient_entity(specs: Mapping[str, MappingSpec]) -> str:
    """The entity whose main resource is a Patient. Raises NoPatients."""
    found = [name for name, spec in specs.items() if spec.produces.get("main") == "Patient"]
    if len(found) != 1:
        raise NoPatients(
            f"{len(found)} entities of the migration have a Patient as their main resource.",
            "Charts need exactly one entity of patients.",
        )
    return found[0]


def hanging_on(specs: Mapping[str, MappingSpec], patient: str) -> list[str]:
    """Entities that refer to the patient's entity, directly or through others; by name."""
    found = {patient}
    while more := {name for name, spec in specs.items() if name not in found and found & set(spec.references)}:
        found |= more
    return sorted(found - {patient})


@dataclass(frozen=True)
class Links:
    """From a patient to the keys of everything that hangs on it, and back."""

    scope: VerificationScope

    @property
    def run(self) -> RunRow:
        """Charts are of a run."""
        assert self.scope.run is not None
        return self.scope.run

    @cached_property
    def patient(self) -> str:
        return patient_entity(self.scope.environment.migration.specs)

    @cached_property
    def entities(self) -> list[str]:
        """What hangs on a patient, of the scope."""
        found = hanging_on(self.scope.environment.migration.specs, self.patient)
        return [name for name in found if name in self.scope.entities]

    def legacy(self, entity: str) -> LegacyReader:
        migration = self.scope.environment.migration
        return LegacyReader(self.scope.environment.source, migration.entities[entity], self.scope.checks(entity))

    def references(self, entity: str) -> list[Reference]:
        """The entity's own way to the patient: straight, if its checks declare that, else by what hangs on one."""
        checks = self.scope.checks(entity)
        every = [one for slot in checks.resources for one in checks.checks(slot)] if checks else []
        plain = [one for one in every if one.compare == "reference" and not one.further_sql]
        found = {(one.entity, one.sql): None for one in plain if one.entity and one.sql}
        straight = [one for one in found if one[0] == self.patient]
        return straight or [one for one in found if one[0] in self.entities and one[0] != entity]

    def keys(self, patient_key: str) -> dict[str, list[str]]:
        """Entity → keys of the patient's rows in the source; entities without checks are not among them."""
        found: dict[str, set[str]] = {self.patient: {patient_key}}
        waiting = [name for name in self.entities if self.references(name)]
        while waiting:
            ready = [name for name in waiting if all(other in found for other, _ in self.references(name))]
            for name in ready or waiting[:1]:
                waiting.remove(name)
                found[name] = {
                    key
                    for other, sql in self.references(name)
                    for key in self.legacy(name).referring(sql, sorted(found.get(other, ())))
                }
        return {entity: sorted(keys) for entity, keys in found.items()}

    def patients_of(self, entity: str, keys: Sequence[str]) -> dict[str, str]:
        """Key → patient's key, for rows that refer straight to one."""
        if entity == self.patient:
            return {key: key for key in keys}
        straight = [sql for other, sql in self.references(entity) if other == self.patient]
        return self.legacy(entity).referred(straight[0], keys) if straight else {}

    def fullest(self, entities: Sequence[str], number: int) -> list[str]:
        """Patients with the most rows in some entities, among the `number` fullest of each."""
        rows: Counter[str] = Counter()
        for entity in entities:
            straight = [sql for other, sql in self.references(entity) if other == self.patient]
            if straight:
                rows.update(self.legacy(entity).most_referred(straight[0], number))
        return [key for key, _ in sorted(rows.items(), key=lambda one: (-one[1], one[0]))[:number]]
