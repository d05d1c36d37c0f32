"""Capture in a storm: 8 writers with long transactions, rollbacks, cascades and TRUNCATE on real servers.

A replica is kept by the cuts alone, as the synchronisation does it. It must equal the source; every row of the journal
must be in exactly one cut, every acknowledged write in the journal, and each cut must replay.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from demo_clinics import database as servers
from medferry.errors import SourceError
from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of
from medferry.source.changes.journal import CHANGE, FENCE, Cut, Journal
from medferry.source.changes.positions import place_of
from medferry.source.database import connect_engine
from tests.changes import clinic
from tests.faults.conftest import LONG

SECONDS, RUNS = (60.0, 3) if LONG else (5.0, 1)
WRITERS = 8
PEOPLE = 20


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context((servers.embedded if request.param == "postgresql" else servers.mariadb)())
        except servers.BinariesMissing as missing:
            pytest.skip(str(missing))
        engine = connect_engine(server.url)
        sa.event.listen(engine, "connect", _short_waits)
        yield engine
        engine.dispose()


def _short_waits(raw: object, _: object) -> None:
    postgresql = type(raw).__module__.startswith("psycopg")
    with raw.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("SET lock_timeout = '3s'" if postgresql else "SET SESSION innodb_lock_wait_timeout = 3")
    raw.commit()  # type: ignore[attr-defined]


@dataclass
class Storm:
    """The writers, and what was acknowledged to them."""

    engine: sa.Engine
    seed: int
    stop: threading.Event = field(default_factory=threading.Event)
    remarks: Counter[str] = field(default_factory=Counter)
    """Key → committed updates of a remark, each of which logs one row."""
    committed: Counter[str] = field(default_factory=Counter)
    """By kind of write."""
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(10_000))

    def writer(self, number: int) -> None:
        dice = random.Random(self.seed * 100 + number)
        with self.engine.connect() as connection:
            while not self.stop.is_set():
                try:
                    self._transaction(connection, dice)
                except DBAPIError:  # a deadlock, a wait that was too long, a foreign key: as an application has them
                    connection.rollback()
                    with self.lock:
                        self.failed += 1
                time.sleep(dice.uniform(0, 0.03))

    def _transaction(self, connection: sa.Connection, dice: random.Random) -> None:
        remarks, kinds = Counter[str](), []
        for _ in range(dice.choice([1, 1, 1, 2, 4])):
            kind, statement = self._statement(dice)
            rows = connection.exec_driver_sql(statement).rowcount
            kinds.append(kind)
            if kind == "remark":
                remarks[statement.rpartition(" ")[2]] += rows
        time.sleep(dice.choice([0.0] * 8 + [dice.uniform(0, 0.05)] * 5 + [dice.uniform(0.3, 2.0)] * 2))
        if dice.random() < 0.1:
            connection.rollback()
            return
        connection.commit()
        with self.lock:
            self.remarks += remarks
            self.committed.update(kinds)

    def _statement(self, dice: random.Random) -> tuple[str, str]:
        word, key, new = dice.randrange(10**6), dice.randint(1, PEOPLE), next(self.ids)
        kinds = {
            "remark": f"UPDATE remark SET text = '{word}' WHERE id = {key}",
            "name": f"UPDATE person SET name = '{word}' WHERE id = {key}",
            "city": f"UPDATE address SET city = '{word}' WHERE person_id = {key}",
            "move": f"UPDATE address SET person_id = {dice.randint(1, PEOPLE)} WHERE id = {key}",
            "settle": f"INSERT INTO address VALUES ({new}, '{word}', {key})",
            "birth": f"INSERT INTO person VALUES ({new}, '{word}')",
            "visit": f"INSERT INTO visit VALUES ({new}, '{word}', {key})",
            "finding": f"UPDATE finding SET text = '{word}' WHERE visit_id = {2 * key}",
            "renumber": f"UPDATE visit SET id = {new} WHERE id = {2 * key + 1}",
            "cascade": f"DELETE FROM person WHERE id = {key}",
            "again": f"INSERT INTO person VALUES ({key}, '{word}')",
            "rename key": f"UPDATE person SET id = {new} WHERE id = {key}",
            "truncate": "TRUNCATE address",
        }
        weights = [8, 4, 4, 2, 2, 1, 3, 3, 1, 1, 2, 1, 0]
        if self.engine.dialect.name == "postgresql":
            weights[-1] = 1
        kind = dice.choices(list(kinds), weights)[0]
        return kind, kinds[kind]


@dataclass
class Follower:
    """Keeps a replica by the cuts alone."""

    engine: sa.Engine
    journal: Journal
    cuts: list[tuple[str, Cut, list[int]]] = field(default_factory=list)
    replica: clinic.State = field(default_factory=dict)
    position: str | None = None
    unsettled: set[str] = field(default_factory=set)
    """Entities of which a TRUNCATE was seen by a snapshot older than it (it is not MVCC-safe): the next cut has it."""

    def follow(self) -> None:
        """Take a cut and apply it; where a lock of a TRUNCATE is in the way, the next cut has it all."""
        try:
            self._follow()
        except SourceError as error:
            if not any(name in str(error) for name in ("LockNotAvailable", "DeadlockDetected")):
                raise

    def _follow(self) -> None:
        with next_cut(self.journal, self.engine, self.engine, self.position) as (connection, cut):
            if self.position is None:
                self.replica = clinic.state(connection)
            else:
                ids = self._ids(connection, self.position, cut.position)
                assert self.unsettled <= cut.whole
                self._apply(connection, cut)
                if self.engine.dialect.name == "postgresql":  # its cut and its rows are of one snapshot
                    self.unsettled = {entity for entity, _ in clinic.differing(self.replica, clinic.state(connection))}
        if self.position is not None:
            self.cuts.append((self.position, cut, ids))
        self.position = cut.position

    def _apply(self, connection: sa.Connection, cut: Cut) -> None:
        keys = {entity: list(found) for entity, found in cut.keys.items()}
        everything = clinic.state(connection) if cut.whole else {}
        for entity, rows in clinic.state(connection, keys).items():
            if entity in cut.whole:
                self.replica[entity] = everything[entity]
                continue
            kept = {key: row for key, row in self.replica[entity].items() if key not in cut.keys.get(entity, ())}
            self.replica[entity] = {**kept, **rows}

    def _ids(self, connection: sa.Connection, low: str, high: str) -> list[int]:
        condition, values = self.journal.window(place_of(low), place_of(high))
        return sorted(connection.scalars(sa.text(f"SELECT id FROM {CHANGE} WHERE {condition}"), values))


def run(engine: sa.Engine, seed: int) -> tuple[Storm, Follower]:
    clinic.create(engine, PEOPLE)
    journal = journal_of(engine, clinic.WATCHED)
    install(engine, journal)
    storm, follower = Storm(engine, seed), Follower(engine, journal)
    follower.follow()
    threads = [threading.Thread(target=storm.writer, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or not storm.committed.keys() >= {"remark", "cascade", "name", "finding"}:
            follower.follow()
            time.sleep(0.1)
    finally:
        storm.stop.set()
        for thread in threads:
            thread.join()
    follower.follow()
    return storm, follower


@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_no_change_is_missed_none_comes_twice_and_every_cut_replays(engine: sa.Engine, seed: int) -> None:
    storm, follower = run(engine, seed)
    with engine.connect() as connection:
        assert clinic.differing(follower.replica, clinic.state(connection)) == set()
        of_records = f"FROM {CHANGE} WHERE entity <> '{FENCE}'"
        logged = connection.execute(sa.text(f"SELECT entity, {follower.journal.key}, id {of_records}")).all()
        in_cuts = [number for _, _, ids in follower.cuts for number in ids]
        assert Counter(in_cuts) == Counter(number for _, _, number in logged)
        assert Counter(key for entity, key, _ in logged if entity == "remark") == +storm.remarks
        for low, cut, ids in follower.cuts:
            assert follower.journal.replay(connection, low, cut.position).logged == cut.logged
            assert follower._ids(connection, low, cut.position) == ids
    assert [cut for _, cut, _ in follower.cuts if cut.keys]
    if LONG and engine.dialect.name == "postgresql":
        assert storm.committed["truncate"]


def test_a_planted_miss_shows_in_the_replica(engine: sa.Engine) -> None:
    """The test itself can fail: a row that goes by the journal is a difference."""
    clinic.create(engine, PEOPLE)
    journal = journal_of(engine, clinic.WATCHED)
    install(engine, journal)
    follower = Follower(engine, journal)
    follower.follow()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE remark SET text = 'x' WHERE id = 1")
        connection.exec_driver_sql(f"DELETE FROM {CHANGE} WHERE entity <> '{FENCE}'")
    try:
        follower.follow()
    except AssertionError:
        return
    with engine.connect() as connection:
        assert clinic.differing(follower.replica, clinic.state(connection)) == {("remark", "1")}
