"""Both sides of some records as they are now: the row and what it becomes, Medplum's resources, what the two agreed on.

Only what a record's resources and its row say now decides, never how they came to be looked at: a record may be looked
at again at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import orjson
import sqlalchemy as sa
from more_itertools import chunked

from medferry.apply.referee import made_in_decisions
from medferry.apply.three_way import Change, read_bases
from medferry.fhir.canonical import Resource
from medferry.fhir.identifiers import names_of
from medferry.fhir.references import by_type, literal_references, references
from medferry.manifest.crosswalk import CrosswalkEntry, Name, find_targets
from medferry.manifest.known_lines import lines_of_ids, names_in_doubt
from medferry.manifest.unit_state import RecordState
from medferry.mapping.declare import Row
from medferry.mapping.identity import conditional_reference
from medferry.medplum.client import PAGE, MedplumClient
from medferry.runtime.environment import Environment
from medferry.source.database import snapshot
from medferry.source.entity import SourceEntity
from medferry.source.lookup import stream_keys
from medferry.sync.keys import try_lines
from medferry.sync.made import Made, Maker, References
from medferry.sync.record_look import RecordLook, SlotLook
from medferry.sync.stored import StoredResource, stored_resources
from medferry.sync.wave import SyncedWave


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks at records of one entity of a wave."""

    wave: SyncedWave
    entity: str
    client: MedplumClient
    maker: Maker

    @property
    def _environment(self) -> Environment:
        return self.wave.environment

    @property
    def _source(self) -> SourceEntity:
        return self._environment.migration.entities[self.entity]

    def look(self, keys: Collection[str]) -> tuple[list[RecordLook], References]:
        """The records of some keys that are in the wave's units, or were, and the names of what they refer to.

        Raises SourceUnavailable, SourceError, MedplumUnavailable, Unauthorised.
        """
        states = self._own(keys)
        own = list(states)
        with snapshot(self._environment.source) as view:
            rows = {self._source.ledger_key_of(row): row for row in self._rows(view, own)}
            try_lines(self.wave, view, self.entity)
        units = {key: self._source.unit_of(row) for key, row in rows.items()}
        with self._environment.manifest.begin() as connection:
            patience, now = self._environment.settings.settle_seconds, self.client.server_clock.now()
            sent = names_in_doubt(connection, self._environment.migration.name, patience, now)
        made = dict(zip(rows, self.maker.of_all(rows.values()), strict=True))
        looks = [
            self._record(key, units.get(key, states[key].unit), rows.get(key), made.get(key, Made({})), entries, sent)
            for key, entries in self._entries(own).items()
            if units.get(key, states[key].unit) in self.wave.units
        ]
        looks = self._with_twins(self._with_stored(looks))
        looks = self._with_bases(looks)
        return looks, self._names(looks)

    def unread(self, keys: Collection[str]) -> list[RecordLook]:
        """Records of the wave whose rows cannot be read: nothing is known of them but their units."""
        own = self._own(keys)
        return [RecordLook(self.entity, key, own[key].unit, None, "", {}, frozenset(), False) for key in own]

    def _own(self, keys: Collection[str]) -> dict[str, RecordState]:
        """What is known of those of some records that are in the wave's units, or were, by key in order."""
        states = self.wave.states(self.entity, keys)
        return {key: states[key] for key in sorted(keys) if key in states and states[key].unit in self.wave.units}

    def _rows(self, view: sa.Connection, keys: Collection[str]) -> Iterable[Row]:
        return stream_keys(view, self._source, self._environment.migration.plan.unit_ids, list(keys))

    def _entries(self, keys: Collection[str]) -> dict[str, dict[str, tuple[Name, CrosswalkEntry]]]:
        """Key → slot → what the crosswalk has."""
        migration = self._environment.migration
        systems = {migration.naming.system(self.entity, slot): slot for slot in migration.specs[self.entity].produces}
        names = [(system, key) for key in keys for system in systems]
        with self._environment.manifest.begin() as connection:
            found = find_targets(connection, migration.name, names)
        entries: dict[str, dict[str, tuple[Name, CrosswalkEntry]]] = {}
        for name, entry in found.items():
            entries.setdefault(name[1], {})[systems[name[0]]] = (name, entry)
        return dict(sorted(entries.items()))

    def _record(
        self,
        key: str,
        unit: str,
        row: Row | None,
        made: Made,
        entries: Mapping[str, tuple[Name, CrosswalkEntry]],
        sent: Collection[Name],
    ) -> RecordLook:
        slots = {slot: SlotLook(name, known, None, made.slots.get(slot)) for slot, (name, known) in entries.items()}
        in_doubt = any(look.name in sent for look in slots.values())
        makes = frozenset(made.slots)
        return RecordLook(self.entity, key, unit, row, made.refused, slots, makes, in_doubt, made.names)

    def _with_stored(self, looks: list[RecordLook]) -> list[RecordLook]:
        """Read by id, so that no replica that lags answers."""
        places = [(slot.known.resource_type, slot.known.medplum_id) for one in looks for slot in one.slots.values()]
        gone: set[str] = set()
        read = self.client.read_each(places, gone) if places else {}
        known = {slot.known.medplum_id: slot.known for one in looks for slot in one.slots.values()}
        stored = stored_resources(self.client, known, read)
        return [
            _with_slots(one, {s: _with(look, stored.get(look.known.medplum_id), gone) for s, look in one.slots.items()})
            for one in looks
        ]

    def _with_twins(self, looks: list[RecordLook]) -> list[RecordLook]:
        """Somebody may have deleted a resource and made it again by its identifier: then the record is not gone.

        A replica that lags may not show it yet; one that it shows is enough to keep the row.
        """
        wanted: dict[tuple[str, str], dict[str, str]] = {}
        for slot in (slot for one in looks if one.row is not None for slot in one.slots.values() if slot.deleted):
            system, value = slot.name
            wanted.setdefault((slot.known.resource_type, system), {})[value] = slot.known.medplum_id
        twins: dict[Name, str] = {}
        for (kind, system), gone in wanted.items():
            named = (one for some in chunked(gone, PAGE // 2) for one in self.client.by_name(kind, system, some))
            for found in named:
                for name in names_of(found):
                    if name[0] == system and found["id"] != gone.get(name[1], found["id"]):
                        twins[name] = f"{kind}/{found['id']}"
        return [
            _with_slots(one, {s: replace(slot, twin=twins.get(slot.name, "")) for s, slot in one.slots.items()})
            for one in looks
        ]

    def _with_bases(self, looks: list[RecordLook]) -> list[RecordLook]:
        """What the row becomes is the base where the row is as it was; else Medplum's history tells."""
        unknown = self._unknown([slot for one in looks for slot in one.slots.values()])
        changes = [
            Change(slot.mapped, slot.known)
            for one in looks
            for slot in one.slots.values()
            if slot.changed_in_legacy and slot.changed_in_medplum and slot.stored and slot.mapped
            if _known_version(slot) not in unknown
        ]
        kept = partial(made_in_decisions, self._environment)
        found = read_bases(self.client, changes, lambda _: frozenset(), kept) if changes else {}
        return [
            _with_slots(one, {s: _with_base(look, found.get(look.name), unknown) for s, look in one.slots.items()})
            for one in looks
        ]

    def _unknown(self, slots: Iterable[SlotLook]) -> set[tuple[str, str]]:
        """Of what was changed or deleted, the known versions that Medplum has not; a point for each, two where not.

        A version that a replica does not show yet is there for a request of its own.
        """
        asked = {_known_version(slot) for slot in slots if slot.changed_in_medplum and not slot.is_as_known}
        shown = self.client.read_each(sorted(asked)) if asked else {}
        return {place for place in asked if place[1] not in shown and not self.client.is_there(*place)}

    def _names(self, looks: Iterable[RecordLook]) -> References:
        """The names of all that Medplum's resources refer to: most of it the rows refer to as well.

        To look up the rest by ids reads the whole crosswalk.
        """
        names = {place: name for one in looks for place, name in one.names.items()}
        slots = [slot for one in looks for slot in one.slots.values()]
        contents = [
            content for slot in slots for content in (slot.stored and slot.stored.content, slot.base) if content
        ]
        places = {place for content in contents for place in literal_references(content)}
        unnamed = [place for place in places if "/".join(place) not in names]
        return names | names_of_ids(self._environment, self.entity, unnamed)


def names_of_ids(environment: Environment, entity: str, places: Iterable[tuple[str, str]]) -> dict[str, Name]:
    """Type/id → name of some (type, id); of several names that to which the mapping of `entity` may refer."""
    names: dict[str, Name] = {}
    migration = environment.migration
    wanted = {system for name in (*migration.specs[entity].references, entity) for system in migration.systems[name]}
    with environment.manifest.begin() as connection:
        for kind, of_kind in by_type(places).items():
            for line in lines_of_ids(connection, migration.name, kind, of_kind):
                place = f"{kind}/{line.medplum_id}"
                if place not in names or line.system in wanted:
                    names[place] = line.name
    return names


def named(resource: Resource, names: References) -> Resource:
    """A resource whose literal references are by name, as a mapping's are; what the crosswalk has not stays."""
    copy: Resource = orjson.loads(orjson.dumps(resource))
    for found in references(copy):
        name = names.get(found["reference"])
        if name is not None:
            kind = found["reference"].partition("/")[0]
            found["reference"] = conditional_reference(kind, *name)
            found.setdefault("type", kind)
    return copy


def _with_slots(look: RecordLook, slots: Mapping[str, SlotLook]) -> RecordLook:
    return replace(look, slots=slots)


def _with(look: SlotLook, stored: StoredResource | None, gone: Collection[str]) -> SlotLook:
    return replace(look, stored=stored, deleted=look.known.medplum_id in gone)


def _known_version(look: SlotLook) -> tuple[str, str]:
    return look.known.resource_type, f"{look.known.medplum_id}/_history/{look.known.version_id}"


def _with_base(look: SlotLook, found: Resource | None, unknown: Collection[tuple[str, str]]) -> SlotLook:
    mapped = look.mapped
    if _known_version(look) in unknown:
        return replace(look, unknown=True)
    base = orjson.loads(mapped.body) if mapped is not None and not look.changed_in_legacy else found
    return replace(look, base=base)
