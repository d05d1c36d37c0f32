"""One pass over what is stored: each resource of the run is read from Medplum once, and everything is judged by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from more_itertools import chunked

from medferry.errors import MedferryError
from medferry.fhir.additions import without_meta
from medferry.manifest.hashes import mark, protection_of
from medferry.mapping.outcomes import Disposition
from medferry.medplum.client import PAGE, MedplumClient
from medferry.verification import content, identity, meaning, references
from medferry.verification.coverage import DECLARED, Coverage
from medferry.verification.documents import Documents
from medferry.verification.legacy import LegacyReader
from medferry.verification.pages import Page, WrittenResource, pages
from medferry.verification.recorder import CheckRecorder
from medferry.verification.references import ReferenceResolver
from medferry.verification.scope import VerificationScope
from medferry.verification.structure import Structure
from medferry.verification.values import Values, name_of

ResourceProgress = Callable[[str, int], None]
"""Called with the entity and the number of resources that have just been compared."""

Items = content.Items

_PATIENCE = 3
"""Pages in a row that Medplum does not answer before the rest of an entity counts as not checked, without asking."""

_EACH = (identity.OWN, content.VERSIONS, content.CONTENT, meaning.PROVENANCE)
"""Checks that judge each resource, whatever is in it."""


@dataclass
class StoredResourceCheck:
    """The pass over one entity."""

    scope: VerificationScope
    client: MedplumClient
    entity: str
    existing: ReferenceResolver
    recorder: CheckRecorder
    report_progress: ResourceProgress
    read: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    identified: Counter[str] = field(default_factory=Counter)
    """Slot → resources that carry an identifier of its system, which a search must therefore find."""
    unanswered: int = 0

    def examine(self) -> int:
        """Judge everything; returns how many resources were looked for. What cannot be read counts as unchecked."""
        checks = self.scope.checks(self.entity)
        legacy = None
        if checks:
            entity = self.scope.migration.entities[self.entity]
            legacy = LegacyReader(self.scope.environment.source, entity, checks)
        self.values = Values(self.scope, self.client, self.entity, checks, legacy) if checks and legacy else None
        self.documents = Documents(self.scope, self.client)
        self.coverage = Coverage(self.scope, self.entity, self.recorder)
        self.structure = Structure(self.client, self.scope.choice, self.scope.expected_resources(self.entity))
        for page in pages(self.scope, self.entity):
            self._page(page, legacy)
        for slot in self.scope.systems(self.entity):
            self._system(slot)
        identity.examine_strays(self.scope, self.entity, self.recorder)
        self._finish()
        return self.read.total()

    def _page(self, page: Page, legacy: LegacyReader | None) -> None:
        rows = self._rows(page, legacy)
        identity.examine_page(page, rows, self.scope.checks(self.entity), self.recorder)
        for slot, written in page.written.items():
            for resources in chunked(written.values(), PAGE):
                items = self._read(slot, resources)
                if items is not None:
                    self._judge(slot, items, page, rows)
                self.report_progress(self.entity, len(resources))

    def _rows(self, page: Page, legacy: LegacyReader | None) -> dict[str, dict[str, Any]] | None:
        """The legacy values of the page's successful rows; None when there are no checks, or no answer."""
        if legacy is None:
            return None
        try:
            rows = legacy.values(list(page.records))
            absent = self._unaccounted([key for key in page.successful if key not in rows], legacy)
        except MedferryError as error:
            for slot, written in page.written.items():
                self._unchecked_values(slot, list(written), error.problem)
            self.recorder.unchecked(identity.MANIFEST, len(page.successful), error.problem, *page.successful)
            return None
        for key in absent:
            self.recorder.different(DECLARED, key, "", "not in the source")
        return rows

    def _unaccounted(self, keys: list[str], legacy: LegacyReader) -> list[str]:
        """Of the keys without a row, those of which the accounting has not told that they are gone from the source."""
        if self.scope.run is not None or not keys:
            return keys
        return [row.key for row in legacy.rows_by_key(keys)]

    def _read(self, slot: str, resources: Sequence[WrittenResource]) -> Items | None:
        """The resources of a slot that are there; None when Medplum does not answer."""
        self.read[slot] += len(resources)
        try:
            if self.unanswered >= _PATIENCE:
                raise MedferryError("Medplum did not answer several times in a row.")
            bodies = self.client.by_id(
                self.scope.type_of(self.entity, slot), [resource.medplum_id for resource in resources]
            )
        except MedferryError as error:
            self.unanswered += 1
            keys = [resource.key for resource in resources]
            for name in (identity.MISSING, *self._by_resource):
                self.recorder.unchecked(name, len(resources), error.problem, *keys)
            self._unchecked_values(slot, keys, error.problem)
            return None
        self.unanswered = 0
        self.recorder.due(identity.MISSING, len(resources))
        items: Items = []
        for resource in resources:
            body = bodies.get(resource.medplum_id)
            self.recorder.judge(identity.MISSING, resource.key, slot, None if body else "missing", resource.place)
            if body is None:
                self.missing[slot] += 1
            else:
                items.append((resource, body))
        return items

    def _judge(self, slot: str, items: Items, page: Page, rows: dict[str, dict[str, Any]] | None) -> None:
        migration = self.scope.migration
        for name in _EACH:
            self.recorder.due(name, len(items))
        for written, resource in items:
            self.identified[slot] += bool(identity.values_of(resource, written.system))
            identity.examine(written, resource, self.recorder)
            meaning.examine(written, resource, migration, self.recorder)
        told = partial(mark, protection=protection_of(self.scope.environment.manifest.dialect))
        content.examine(items, self.client, self.recorder, told)
        fhirs = [(written, without_meta(resource)) for written, resource in items]
        references.examine(fhirs, self.existing, self.recorder)
        self.structure.examine(fhirs, self.recorder)
        checks = self.scope.checks(self.entity)
        if checks and checks.lifetime:
            meaning.examine_lifetimes(items, checks, self.existing, self.recorder)
        if self.values and rows is not None:
            successful = [(w, r) for w, r in items if page.records[w.key].disposition == Disposition.SUCCESSFUL]
            self.values.examine(slot, successful, rows, self.recorder)
        compared = self.values.digests if self.values and rows is not None else {}
        self.documents.examine(items, compared, self.recorder)
        self.coverage.examine(slot, items, rows)

    @property
    def _by_resource(self) -> list[str]:
        """The checks, but for the values, that judge each resource as it was read."""
        checks = self.scope.checks(self.entity)
        names = [
            identity.OWN,
            content.VERSIONS,
            content.CONTENT,
            references.FORM,
            references.RESOLVE,
            references.CONTEXT,
        ]
        names += [meaning.CHRONOLOGY, meaning.CODES, meaning.PROVENANCE]
        return [*names, meaning.LIFETIME] if checks and checks.lifetime else names

    def _unchecked_values(self, slot: str, keys: Sequence[str], why: str) -> None:
        checks = self.scope.checks(self.entity)
        for check in checks.checks(slot) if checks else ():
            self.recorder.unchecked(name_of(check, slot), len(keys), why, *keys)

    def _system(self, slot: str) -> None:
        for name in (identity.UNEXPECTED, identity.TWICE):
            self.recorder.due(name, self.identified[slot] or min(self.read[slot], 1))
        try:
            identity.examine_system(
                self.client, self.scope, self.entity, slot, self.read[slot], self.identified[slot], self.recorder
            )
        except MedferryError as error:
            self.recorder.unchecked(identity.UNEXPECTED, self.read[slot], error.problem)
            self.recorder.unchecked(identity.TWICE, self.read[slot], error.problem)

    def _finish(self) -> None:
        """Have a result also for checks that found nothing to compare."""
        names = (identity.MISSING, identity.UNEXPECTED, identity.TWICE, identity.MANIFEST)
        for name in (*names, *self._by_resource):
            self.recorder.expect(name)
        if self.read.total() and self.read.total() == self.missing.total():
            for name in _EACH:  # nothing that was written is there: then nothing of it is as written
                self.recorder.due(name, 1)
        self.structure.finish(self.recorder)
        self.documents.finish(self.recorder)
        self.coverage.finish()
        if self.values:
            self.values.finish(self.recorder)
