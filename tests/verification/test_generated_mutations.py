"""Every leaf of every resource of the clinics altered, removed, doubled, moved; every element of FHIR's added.

In both modes: behind the manifest's back, where the hash tells; and agreed with the manifest, as after a fault of
mapping or loader, where only comparisons, rules and the closed world can. No server: the mapped demo is judged by what
judges a resource in a verification. That it does so in a whole one, `test_mutations` and `test_closed_world` show.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import orjson
import pytest
import sqlalchemy as sa

from demo_clinics.generate import fill
from medferry.definition.checks import Check
from medferry.definition.migration import Migration, load_migration
from medferry.fhir.references import parse_conditional, references
from medferry.manifest.checks import Difference
from medferry.manifest.coverage import LeafCount, summed
from medferry.manifest.subject import Subject
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from medferry.source.database import connect_engine
from medferry.verification import identity, meaning
from medferry.verification.content import digest
from medferry.verification.coverage import Coverage
from medferry.verification.legacy import LegacyReader
from medferry.verification.options import Sampling
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.references import fault, held_references
from medferry.verification.scope import VerificationScope
from medferry.verification.values import Places, Values
from tests.clinics.whole import migrate
from tests.verification.generated import Mutation, Resource, mutations

MISSED_WITH_REASON = {
    "problem/main: moved Condition.verificationStatus.coding[]": "the demo has two in error: too few to know the order",
}
"""Kind → why it is not found when the manifest agrees with it."""

ENOUGH = 3
"""In a slot of fewer resources nobody knows which of two is right: see the runbook."""

Item = tuple[WrittenResource, Resource]


class OfflineValues(Values):
    """The value checks, with the crosswalk in memory."""

    known: Places

    def _places(self, checks: Sequence[Check], rows: Iterable[Mapping[str, Any]]) -> Places:  # noqa: ARG002
        return self.known


@dataclass
class Mapped:
    """The demo, mapped: each entity's resources by slot, their references literal."""

    migration: Migration
    engine: sa.Engine
    stored: dict[str, dict[str, list[Item]]] = field(default_factory=lambda: defaultdict(dict))
    places: Places = field(default_factory=dict)

    @cached_property
    def scope(self) -> VerificationScope:
        return VerificationScope(Environment(self.migration, Settings()), Subject(), Sampling(), {}, {})

    @cached_property
    def known(self) -> set[str]:
        return set(self.places.values())

    def judged(self, entity: str, altered: dict[str, Resource]) -> tuple[set[str], list[LeafCount]]:
        """The places found, with what was compared, when some resources (by place) are other than they should be."""
        found: list[Difference] = []
        recorder = CheckRecorder(entity, found.extend)
        coverage = Coverage(self.scope, entity, recorder)
        for slot, items in self.stored[entity].items():
            now = [(written, altered.get(written.place, resource)) for written, resource in items]
            coverage.examine(slot, now, self._rows[entity])
            self._compare(entity, slot, [item for item in now if item[0].place in altered], recorder)
        coverage.finish()
        recorder.flush()
        return {each.place for each in found}, recorder.leaves

    def _compare(self, entity: str, slot: str, items: list[Item], recorder: CheckRecorder) -> None:
        checks = self.migration.checks.entities[entity]
        legacy = LegacyReader(self.engine, self.migration.entities[entity], checks)
        values = OfflineValues(self.scope, cast(MedplumClient, None), entity, checks, legacy)
        values.known = self.places
        values.examine(slot, items, self._rows[entity], recorder)
        for written, resource in items:
            identity.examine(written, resource, recorder)
            meaning.examine(written, resource, self.migration, recorder)
            for path, held in held_references(resource):
                dangling = "missing" if held["reference"] not in self.known else None
                recorder.judge("references", written.key, path, fault(held) or dangling, written.place)

    @cached_property
    def _rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        found = {}
        for entity, slots in self.stored.items():
            keys = {written.key for items in slots.values() for written, _ in items}
            reader = LegacyReader(self.engine, self.migration.entities[entity], self.migration.checks.entities[entity])
            found[entity] = reader.values(sorted(keys))
        return found


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    url = f"sqlite:///{tmp_path_factory.mktemp('demo')}/legacy.db"
    fill(sa.create_engine(url), seed=12, patients=40, pace=2.0)
    engine = connect_engine(url)
    migration = load_migration("clinics")
    made = Mapped(migration, engine)
    outcome = migrate(migration, engine)
    ids: dict[tuple[str, str], str] = {}
    for number, ((entity, key, slot), found) in enumerate(outcome.resources.items(), start=1):
        resource = orjson.loads(orjson.dumps(found))  # the resources of a row share some parts
        system = migration.naming.system(entity, slot)
        resource["id"] = f"{number:08d}-1111-4222-8333-444455556666"
        ids[system, key] = f"{resource['resourceType']}/{resource['id']}"
        made.places[entity, slot, key] = ids[system, key]
        written = WrittenResource(key, slot, resource["resourceType"], system, resource["id"], "1", "", "r")
        made.stored[entity].setdefault(slot, []).append((written, resource))
    for written, resource in (item for slots in made.stored.values() for items in slots.values() for item in items):
        for held in references(resource):
            parsed = parse_conditional(held["reference"])
            assert parsed is not None, written.key
            held["reference"] = ids[parsed[1], parsed[2]]
    return made


def readings(slots: dict[str, list[Item]]) -> Iterator[list[tuple[WrittenResource, Resource, Mutation]]]:
    """Each kind of mutation of each slot once; in a reading few resources of a slot are altered."""
    waiting: dict[str, dict[str, list[tuple[WrittenResource, Resource, Mutation]]]] = {slot: {} for slot in slots}
    for slot, items in slots.items():
        for number, (written, resource) in enumerate(items):
            for mutation in mutations(resource):
                places = waiting[slot].setdefault(f"{mutation.kind} {mutation.path}", [])
                if len(places) < 8:
                    places.insert(number % 3 and len(places), (written, resource, mutation))
    while any(waiting.values()):
        reading: dict[str, tuple[WrittenResource, Resource, Mutation]] = {}
        for slot, kinds in waiting.items():
            room = max(len(slots[slot]) // 8, 1)
            for name in list(kinds):
                free = next((each for each in kinds[name] if each[0].place not in reading), None)
                if free and room:
                    room -= 1
                    reading[free[0].place] = free
                    del kinds[name]
        yield list(reading.values())


def test_no_kind_of_change_is_missed(mapped: Mapped, capsys: pytest.CaptureFixture[str]) -> None:
    missed: list[str] = []
    behind = agreed = total = too_few = 0
    leaves: list[LeafCount] = []
    for entity, slots in mapped.stored.items():
        clean, counts = mapped.judged(entity, {})
        assert clean == set()
        leaves += counts
        for reading in readings(slots):
            altered = {written.place: mutation.applied(resource) for written, resource, mutation in reading}
            found, _ = mapped.judged(entity, altered)
            for written, resource, mutation in reading:
                name = f"{entity}/{written.slot}: {mutation.kind} {mutation.path}"
                total += 1
                behind += digest(altered[written.place]) != digest(resource)
                if written.place in found or name in MISSED_WITH_REASON:
                    agreed += 1
                elif len(slots[written.slot]) < ENOUGH:
                    too_few += 1
                else:
                    missed.append(name)
    whole = summed("all", leaves)
    told = f"generated mutations: {total}; found behind our back {behind}, agreed {agreed}, in too few {too_few}"
    with capsys.disabled():
        sys.stdout.write(f"\n{told}\ncompared: {whole.compared_share:.1%} of {whole.total} leaf values\n")
    assert not missed, "\n".join(missed)
    assert behind == total
