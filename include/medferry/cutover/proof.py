"""Whether every write of users in Medplum since the flip is in the legacy database, by looking at all there is.

All changes since then are read anew, whatever the way back has read, and every resource of the crosswalk is looked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from more_itertools import map_reduce

from medferry.errors import MedferryError
from medferry.fhir.references import by_type, literal_references
from medferry.manifest.decisions import digest_of
from medferry.manifest.hashes import mark, protection_of
from medferry.manifest.held_back import held_back_of
from medferry.manifest.known_lines import KnownLine, lines_of_ids
from medferry.manifest.write_backs import open_write_backs
from medferry.medplum.changes import begin, next_page
from medferry.medplum.client import MedplumClient
from medferry.source.shown_keys import shown_name
from medferry.sync.reverse import Found, FoundKind, Ours, classify, classify_absent
from medferry.sync.reverse_births import ours_of
from medferry.sync.reverse_sweep import sweep_page
from medferry.sync.wave import SyncedWave

_OPEN = (FoundKind.EDIT, FoundKind.DELETE, FoundKind.TWIN)
"""The legacy database does not say the same."""


class Unproven(MedferryError):
    """Something that was written in Medplum is not in the legacy database: going back would lose it."""


Record = tuple[str, str]
"""Its entity and its source key."""


@dataclass
class Proof:
    """`unproven`: a place in Medplum, or a record, that the legacy database does not say → what is known of it.

    `records` are those that it is about; `keys`: what was written and did arrive, by entity.
    """

    changes: int = 0
    unproven: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    records: dict[str, set[Record]] = field(default_factory=lambda: defaultdict(set))
    keys: dict[str, set[str]] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, str]:
        """What is unproven → the digest of the state that it is in: another write gives it another one."""
        return {what: digest_of(*sorted(known)) for what, known in sorted(self.unproven.items())}

    def note(self, what: str, known: Sequence[str], records: Iterable[Record]) -> None:
        """The legacy database does not say something, as far as `known`."""
        self.unproven[what].add("|".join(known))
        self.records[what].update(records)

    def check(self, left: Collection[str] = ()) -> None:
        """Raises Unproven for whatever is not left behind."""
        missing = [what for what in sorted(self.unproven) if what not in left]
        if missing:
            some = ", ".join(missing[:5])
            raise Unproven(
                f"{len(missing)} write(s) in Medplum are not in the legacy database: {some}.",
                "See why (`medferry sync status`), mend it, or enter them by hand; then try again. "
                "What can only be done by hand afterwards, a person may leave behind: `rollback --accept`.",
            )

    def keys_without(self, left: Collection[str]) -> dict[str, set[str]]:
        """What is to be equal in both systems: not the records of what is left behind."""
        differ = {record for what in left for record in self.records[what]}
        found = {entity: {key for key in some if (entity, key) not in differ} for entity, some in self.keys.items()}
        return {entity: some for entity, some in found.items() if some}


def prove(wave: SyncedWave, client: MedplumClient, units: Collection[str], since: str) -> Proof:
    """Look at everything since Medplum's time `since`, and at all that the crosswalk has of the units' types."""
    proof = Proof()
    environment = wave.environment
    migration = environment.migration
    ours = ours_of(migration)
    for kind in sorted({kind for spec in migration.specs.values() for kind in spec.produces.values()}):
        for found in (*_changed(wave, client, ours, kind, since), *_swept(wave, client, ours, kind)):
            _judge(wave, proof, units, found)
    with environment.manifest.begin() as connection:
        held = held_back_of(connection, migration.name, {*units, *migration.plan.shared_units})
        written = [one for one in open_write_backs(connection, migration.name, wave.id) if one.unit in units]
    for one in held:
        what = one.place or shown_name(one.entity, one.key)
        known = (one.reason, one.slot, one.path, one.detail)
        proof.note(what, known, [(one.entity, one.key)])
    for note in written:
        state = mark(note.expected, protection_of(environment.manifest.dialect))
        proof.note(shown_name(note.entity, note.key), [state], [(note.entity, note.key)])
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
    shared = wave.environment.migration.plan.shared_units  # of several clinics: what any of them wrote about it counts
    there = _in_units(wave, (line for one in found for line in one.lines), units)
    for one in found:
        lines = there.intersection(one.lines)
        born = one.kind is FoundKind.BIRTH or (one.kind is FoundKind.TWIN and not lines)
        if born:
            lines = _in_units(wave, _referred(wave, one), {*units, *shared})
        if not lines:
            continue
        proof.changes += 1
        if born or one.kind in _OPEN:
            known = [one.kind.value, one.version_id]
            proof.note(f"{one.resource_type}/{one.id}", known, [(line.entity, line.value) for line in lines])
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
