"""Whether every write of users in Medplum since the flip is in the legacy database, by looking at all there is.

All changes since then are read anew, whatever the way back has read, and every resource of the crosswalk is looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from more_itertools import map_reduce

from medferry.errors import MedferryError
from medferry.fhir.references import by_type, literal_references
from medferry.manifest.held_back import held_back_of
from medferry.manifest.known_lines import KnownLine, lines_of_ids
from medferry.manifest.write_backs import open_write_backs
from medferry.medplum.changes import begin, next_page
from medferry.medplum.client import MedplumClient
from medferry.sync.reverse import Found, FoundKind, Ours, classify, classify_absent
from medferry.sync.reverse_sweep import sweep_page
from medferry.sync.wave import SyncedWave

_OPEN = (FoundKind.EDIT, FoundKind.DELETE, FoundKind.TWIN)
"""The legacy database does not say the same."""


class Unproven(MedferryError):
    """Something that was written in Medplum is not in the legacy database: going back would lose it."""


@dataclass
class Proof:
    """`missing`: places in Medplum, or records, that the legacy database does not say; `keys`: what was written."""

    changes: int = 0
    missing: set[str] = field(default_factory=set)
    keys: dict[str, set[str]] = field(default_factory=dict)

    def check(self) -> None:
        """Raises Unproven."""
        if self.missing:
            some = ", ".join(sorted(self.missing)[:5])
            raise Unproven(
                f"{len(self.missing)} write(s) in Medplum are not in the legacy database: {some}.",
                "See why (`medferry sync status`), mend it, or enter them by hand; then try again.",
            )


def prove(wave: SyncedWave, client: MedplumClient, units: Collection[str], since: str) -> Proof:
    """Look at everything since Medplum's time `since`, and at all that the crosswalk has of the units' types."""
    proof = Proof()
    environment = wave.environment
    migration = environment.migration
    ours = Ours(migration.name, migration.plan.base, lambda resource: bool(literal_references(resource)))
    for kind in sorted({kind for spec in migration.specs.values() for kind in spec.produces.values()}):
        for found in (*_changed(wave, client, ours, kind, since), *_swept(wave, client, ours, kind)):
            _judge(wave, proof, units, found)
    with environment.manifest.begin() as connection:
        held = [one for one in held_back_of(connection, migration.name, wave.units) if one.unit in units]
        written = [one for one in open_write_backs(connection, migration.name, wave.id) if one.unit in units]
    proof.missing |= {one.place or f"{one.entity} {one.key}" for one in held}
    proof.missing |= {f"{one.entity} {one.key}" for one in written}
    return proof


def _changed(wave: SyncedWave, client: MedplumClient, ours: Ours, kind: str, since: str) -> Iterator[list[Found]]:
    position, more = begin(since), True
    while more:
        page = next_page(client, kind, position)
        position, more = page.position, page.more
        yield classify(wave.environment.manifest, client, ours, kind, page.changes)


def _swept(wave: SyncedWave, client: MedplumClient, ours: Ours, kind: str) -> Iterator[list[Found]]:
    manifest, position, more = wave.environment.manifest, "", True
    while more:
        page = sweep_page(manifest, client, ours.migration, kind, position)
        position, more = page.position, not page.complete
        found = classify(manifest, client, ours, kind, page.changed)
        yield [*found, *classify_absent(manifest, ours, kind, page.absent)]


def _judge(wave: SyncedWave, proof: Proof, units: Collection[str], found: Sequence[Found]) -> None:
    known = _in_units(wave, (line for one in found for line in one.lines), units)
    for one in found:
        lines = known.intersection(one.lines)
        born = one.kind is FoundKind.BIRTH or (one.kind is FoundKind.TWIN and not lines)
        if born:
            lines = _in_units(wave, _referred(wave, one), units)
        if not lines:
            continue
        proof.changes += 1
        if born or one.kind in _OPEN:
            proof.missing.add(f"{one.resource_type}/{one.id}")
        else:
            for line in lines:
                proof.keys.setdefault(line.entity, set()).add(line.value)


def _in_units(wave: SyncedWave, lines: Iterable[KnownLine], units: Collection[str]) -> set[KnownLine]:
    """Those of some lines whose records are in the units; a query an entity."""
    by_entity = map_reduce(lines, lambda line: line.entity)
    states = {name: wave.states(name, {line.value for line in some}) for name, some in by_entity.items()}
    return {
        line
        for name, some in by_entity.items()
        for line in some
        if (state := states[name].get(line.value)) is not None and state.unit in units
    }


def _referred(wave: SyncedWave, found: Found) -> list[KnownLine]:
    """The records that a resource without a row refers to: it is where they are."""
    if found.change is None:
        return []
    name = wave.environment.migration.name
    with wave.environment.manifest.begin() as connection:
        return [
            line
            for kind, ids in by_type(literal_references(found.change.resource)).items()
            for line in lines_of_ids(connection, name, kind, ids)
        ]
