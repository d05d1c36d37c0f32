"""The way back, one cycle: what users changed in Medplum since the last one is written into the legacy database.

A feed only names records; what is done about a record is decided by what both sides say now. A feed's position moves
on in the transaction that records what was done about its page: a kill repeats a page, and writes nothing twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import sqlalchemy as sa

from medferry.errors import MedferryError, SourceError
from medferry.fhir.sides import Side
from medferry.governance.authority import authority
from medferry.manifest.clock import read_clock, seconds_between
from medferry.manifest.feeds import Feed, FeedKind, FeedName, begin_feed, find_feed, move_feed
from medferry.manifest.held_back import HeldBack, due_again, set_held_back
from medferry.medplum.changes import ChangePage, ChangePosition, PositionUnreadable, begin
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import NoVerdict, Unauthorised
from medferry.runtime.claim import hold_claim
from medferry.runtime.environment import Environment
from medferry.runtime.known_keys import refuse_other_keys
from medferry.runtime.legacy_home import check_read
from medferry.source.database import snapshot
from medferry.sync.finish_births import finish_births
from medferry.sync.made import Maker
from medferry.sync.reverse import Found, FoundKind, classify, classify_absent, named_by
from medferry.sync.reverse_births import ours_of
from medferry.sync.reverse_born import Delivery
from medferry.sync.reverse_decide import Decider, Decision, set_aside
from medferry.sync.reverse_forth import settle_forth
from medferry.sync.reverse_lag import lags_of
from medferry.sync.reverse_look import Looker
from medferry.sync.reverse_page import page_of_changes
from medferry.sync.reverse_rows import WrittenBack
from medferry.sync.reverse_sweep import sweep_page
from medferry.sync.reverse_write import finish_write_backs, write_back
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

BEGINNING = "2000-01-01T00:00:00.000Z"
"""No version in Medplum is older."""

SWEEP_SECONDS = 60.0
"""A page of the sweep is looked at so often; the poll, at each cycle."""

_OF_ONE_TYPE = (Unauthorised, NoVerdict, PositionUnreadable)
"""What keeps one resource type from being read; the others are done before it is told."""

Keys = Mapping[str, Collection[str]]
"""Entity → source keys."""


class NothingBack(MedferryError):
    """No entity of the migration has a way back."""


@dataclass
class BackCycle:
    """What a cycle has done. `written` are rows by entity, `held` what was held back of the records looked at."""

    found: Counter[FoundKind] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    """Rows by entity that went, or were marked, since their resources were deleted."""
    born: Counter[str] = field(default_factory=Counter)
    """Resources by type that users had created, and that have got their rows."""
    columns: dict[str, Counter[str]] = field(default_factory=dict)
    """Entity → column → rows; of a cycle that only tells, what it would write."""
    inserts: dict[str, Counter[str]] = field(default_factory=dict)
    """The same of new rows; of a cycle that only tells."""
    held: list[HeldBack] = field(default_factory=list)


def back_cycle(wave: SyncedWave, client: MedplumClient | None = None) -> BackCycle:
    """Write back what was changed in Medplum. What cannot be written is held back, and told; other records go on.

    `client`: one to be used, so that each cycle of many need not connect anew.

    Raises SyncBusy, NothingBack, SettingsError without the writing account, LeaseHeld, SourceUnavailable,
    OtherSystem where that account leads to another database, MedplumUnavailable, Unauthorised, FeedMoved,
    OtherManifest and Rekeyed where there is something to write.
    """
    if not wave.environment.migration.inverses:
        raise NothingBack(
            f"No entity of {wave.environment.migration.name} has a way back.", "Write an @inverse beside a mapping."
        )
    with snapshot(wave.environment.legacy_writer) as connection:
        check_read(wave.environment, connection)  # it is to be the very database that is read
    with ExitStack() as opened:
        opened.enter_context(wave.alone())
        finish_write_backs(wave)
        client = client or opened.enter_context(wave.environment.medplum())
        finish_births(wave, client, writer=True)
        return _Back(wave, client).carry_out()


def pending_back(wave: SyncedWave) -> BackCycle:
    """What the next cycle would write, from where the feeds are; nothing is noted. Raises as `back_cycle`."""
    environment, told = wave.environment, BackCycle()
    with environment.medplum() as client:
        back = _Back(wave, client)
        for resource_type in returning_types(environment):
            name = FeedName(environment.migration.name, wave.id, resource_type, FeedKind.POLL)
            with environment.manifest.begin() as connection:
                feed = find_feed(connection, name)
            position, more = ChangePosition.of(feed.position) if feed else begin(BEGINNING), True
            while more:
                page, found = back.next_page(resource_type, position, first=not (feed and feed.passes))
                position, more = page.position, page.more
                back.tell(found, told)
    return told


@dataclass
class _Back:
    wave: SyncedWave
    client: MedplumClient
    done: BackCycle = field(default_factory=BackCycle)
    blocked: set[str] = field(default_factory=set)
    claimed: bool = False

    @property
    def _environment(self) -> Environment:
        return self.wave.environment

    def carry_out(self) -> BackCycle:
        self._again()
        failures = list[MedferryError]()
        for resource_type in returning_types(self._environment):
            try:
                self._poll(resource_type)
                self._sweep(resource_type)
            except _OF_ONE_TYPE as error:
                log.warning("%s is left to the next cycle: %s", resource_type, error)
                failures.append(error)
        if failures:
            raise failures[0]
        return self.done

    def _may_write(self) -> None:
        """Asked once a cycle, where anything may be written: what is only written back is to be marked, too."""
        if not self.claimed:
            hold_claim(self._environment, self.client)
            with snapshot(self._environment.legacy_writer) as view:  # rows are found by their keys
                refuse_other_keys(self._environment, view, self._environment.migration.inverses.keys())
            self.claimed = True

    def _again(self) -> None:
        """What was held back, in turns."""
        migration = self._environment.migration
        with self._environment.manifest.begin() as connection:
            due = due_again(connection, migration.name, self.wave.units)
        keys: dict[str, set[str]] = {}
        for one in due:
            if not one.is_birth and one.entity in migration.inverses:
                keys.setdefault(one.entity, set()).add(one.key)
        if keys:
            self._settle(keys, lambda *_: None, left=True)
        if told := [one for one in due if one.is_birth]:
            self._may_write()
            self._delivery.again(told)

    @property
    def _delivery(self) -> Delivery:
        return Delivery(self.wave, self.client, self.blocked, self.done.held, self.done.born)

    def _poll(self, resource_type: str) -> None:
        with self._environment.manifest.begin() as connection:
            feed = begin_feed(connection, self._name(resource_type, FeedKind.POLL), begin(BEGINNING).text)
        more = True
        while more:
            page, found = self.next_page(resource_type, ChangePosition.of(feed.position), first=not feed.passes)
            feed, more = self._moved(feed, found, page.position.text, not page.more), page.more

    def next_page(self, resource_type: str, position: ChangePosition, first: bool) -> tuple[ChangePage, list[Found]]:
        """A page, and what its changes are."""
        manifest, ours = self._environment.manifest, ours_of(self._environment.migration, births=not first)
        page = page_of_changes(manifest, self.client, ours, resource_type, position, first)
        return page, classify(manifest, self.client, ours, resource_type, page.changes)

    def _sweep(self, resource_type: str) -> None:
        with self._environment.manifest.begin() as connection:
            feed = begin_feed(connection, self._name(resource_type, FeedKind.SWEEP))
            age = seconds_between(feed.moved_at, read_clock(connection))
        if feed.step and age < SWEEP_SECONDS:
            return
        manifest, ours = self._environment.manifest, ours_of(self._environment.migration)
        page = sweep_page(manifest, self.client, ours.migration, resource_type, feed.position)
        found = classify(manifest, self.client, ours, resource_type, page.changed)
        found += classify_absent(manifest, ours, resource_type, page.absent)
        found += [Found(FoundKind.ECHO, resource_type, x.medplum_id, x.version_id, (x,)) for x in page.merged]
        self._moved(feed, found, page.position, page.complete)

    def _name(self, resource_type: str, kind: FeedKind) -> FeedName:
        return FeedName(self._environment.migration.name, self.wave.id, resource_type, kind)

    def _moved(self, feed: Feed, found: Collection[Found], position: str, passed: bool) -> Feed:
        """Settle what a page names; the feed moves on in the transaction that records it."""
        self.done.found.update(one.kind for one in found)
        moved: list[Feed] = []
        keys = named_by(found, self._environment.migration.inverses)
        if any(one.kind is FoundKind.BIRTH for one in found):
            self._may_write()
            self._delivery.first(found)

        def move(connection: sa.Connection, written: WrittenBack) -> None:
            moved.append(move_feed(connection, feed, position, passed, lags_of(found, written, self.client)))

        self._settle(keys, move)
        return moved[-1]

    def tell(self, found: Collection[Found], told: BackCycle) -> None:
        """Add what would be done about some changes."""
        told.found.update(one.kind for one in found)
        for entity, keys in sorted(named_by(found, self._environment.migration.inverses).items()):
            for one in self._decided(entity, keys):
                told.held += one.held
                told.removed.update([entity] if one.removal is not None else [])
                if one.columns:
                    told.written[entity] += 1
                    told.columns.setdefault(entity, Counter()).update(list(one.columns))
        for birth in self._delivery.births.among(found):
            row = self._delivery.foretold(birth)
            if isinstance(row, list):
                told.held += row
            else:
                told.born[birth.place[0]] += 1
                told.inserts.setdefault(row[0], Counter()).update(row[1])

    def _settle(self, keys: Keys, at_end: Callable[[sa.Connection, WrittenBack], object], left: bool = False) -> None:
        """Do what is to be done. `left`: was held back; what is the wave's no more is not told, each is tried alone."""
        decisions = [one for entity, of_entity in sorted(keys.items()) for one in self._decided(entity, of_entity)]
        if decisions:
            self._may_write()
        settle_forth(self.wave, decisions)
        migration = self._environment.migration

        def record(connection: sa.Connection, written: WrittenBack) -> None:
            held = [line for one in decisions for line in one.held] + written.held
            looked = [(one.look.entity, one.look.key) for one in decisions]
            looked += [(entity, key) for entity, of_entity in keys.items() for key in of_entity if left]
            set_held_back(connection, migration.name, migration.fingerprint, looked, held)
            at_end(connection, written)

        done = write_back(self.wave, decisions, self.blocked, record, together=not left)
        self._count(decisions, done)

    def _decided(self, entity: str, keys: Collection[str]) -> list[Decision]:
        """What is to be done about some records; those of an entity that cannot be read are held back."""
        migration, environment = self._environment.migration, self._environment
        maker = Maker(environment, entity)
        looker = Looker(self.wave, entity, self.client, maker)
        decider = Decider(
            migration.specs[entity],
            migration.inverses[entity],
            migration.settings,
            lambda row: maker.of(row).slots,
            migration.plan.deleted_policy(entity),
            lambda unit, kind: authority(migration.plan, unit, entity, resource_type=kind) is not Side.LEGACY,
        )
        try:
            looks, names = looker.look(keys)
        except SourceError as error:
            log.warning("%s is set aside: %s", entity, error)
            self.blocked.add(entity)
            return [set_aside(one, error.problem) for one in looker.unread(keys)]
        return [decider.decide(one, names) for one in looks]

    def _count(self, decisions: Iterable[Decision], done: WrittenBack) -> None:
        for one in decisions:
            self.done.held += one.held
            if (one.look.entity, one.look.key) in done.rows:
                self.done.written[one.look.entity] += 1
                self.done.columns.setdefault(one.look.entity, Counter()).update(list(one.columns))
        self.done.removed.update(entity for entity, _ in done.removed)
        self.done.held += done.held


def returning_types(environment: Environment) -> list[str]:
    """The resource types of the entities that have a way back; what others refer to comes first."""
    migration = environment.migration
    levels: dict[str, int] = {}
    for name in migration.inverses:
        for kind in migration.specs[name].produces.values():
            levels[kind] = min(levels.get(kind, migration.level_of(name)), migration.level_of(name))
    return sorted(levels, key=lambda kind: (levels[kind], kind))
