"""What rows become now, their references literal: what the way back compares with what Medplum has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medferry.apply.targets import ResolvedResource, StagedResource, resolved, staged_resource
from medferry.fhir.bundle import Staged, identity
from medferry.fhir.canonical import canonical
from medferry.manifest.crosswalk import CrosswalkEntry, Name, find_targets
from medferry.mapping.declare import Row
from medferry.mapping.outcomes import Disposition, Finding, Reason
from medferry.runtime.environment import Environment
from medferry.stages.transform import map_row

References = Mapping[str, Name]
"""Type/id → the name that a mapping refers to it by."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a row becomes, by slot, its references literal; why it becomes nothing, where it does; what was noticed."""

    slots: Mapping[str, ResolvedResource]
    refused: str = ""
    findings: Sequence[Finding] = ()
    names: References = field(default_factory=dict)
    """Of what it refers to."""


@dataclass(frozen=True, slots=True)
class _Mapped:
    """A row as it was mapped, its references by name still."""

    resources: Sequence[StagedResource]
    refused: str
    findings: Sequence[Finding]

    @property
    def wanted(self) -> set[Name]:
        return {name for one in self.resources for name in one.wanted}


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes rows of an entity; to be used for moments.

    The crosswalk is asked once for each name, in one statement for all that many rows refer to: what another process
    sends anew meanwhile is found by its version when the row's bases are taken over.
    """

    environment: Environment
    entity: str
    _known: dict[Name, CrosswalkEntry] = field(default_factory=dict)

    def of(self, row: Row) -> Made:
        """What a row becomes."""
        return self.of_all([row])[0]

    def of_all(self, rows: Iterable[Row]) -> list[Made]:
        """What each of some rows becomes, in their order."""
        mapped = [self._mapped(row) for row in rows]
        self._look_up({name for one in mapped for name in one.wanted})
        return [self._made(one) for one in mapped]

    def _mapped(self, row: Row) -> _Mapped:
        migration = self.environment.migration
        mapped = map_row(migration.specs[self.entity], migration.entities[self.entity], row, migration.settings)
        if mapped.disposition is not Disposition.PENDING:
            told = (mapped.disposition, mapped.reason, mapped.field, mapped.place)
            return _Mapped((), " ".join(part for part in told if part), mapped.findings)
        staged = (Staged(one["resourceType"], identity(one), canonical(one)) for one in mapped.resources)
        return _Mapped([staged_resource(one) for one in staged], "", mapped.findings)

    def _look_up(self, names: set[Name]) -> None:
        if unknown := names - self._known.keys():
            with self.environment.manifest.begin() as connection:
                self._known.update(find_targets(connection, self.environment.migration.name, unknown))

    def _made(self, mapped: _Mapped) -> Made:
        if mapped.refused:
            return Made({}, mapped.refused, mapped.findings)
        known = {name: self._known[name] for name in mapped.wanted if name in self._known}
        if known.keys() != mapped.wanted:
            return Made({}, Reason.UNRESOLVED_REFERENCE)
        migration = self.environment.migration
        slots = {migration.naming.system(self.entity, slot): slot for slot in migration.specs[self.entity].produces}
        names = {f"{entry.resource_type}/{entry.medplum_id}": name for name, entry in known.items()}
        resources = {slots[one.name[0]]: resolved(one, known) for one in mapped.resources}
        return Made(resources, "", mapped.findings, names)
