"""The sweep finds each planted miss, calls nothing a miss that is on its way, and gives way to others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install
from medferry.source.changes.journal import Journal
from medferry.source.changes.sweep import Digests, Sweep, Swept, Throttle
from medferry.source.database import snapshot
from tests.changes import clinic

FREE = Throttle(rows_per_second=1e9, latency=60)
Write = Callable[..., None]


@dataclass
class ClinicRows:
    """The rows of an entity of the clinic; `between` is called after each page, as others write meanwhile."""

    entity: str
    size: int = 7
    between: Callable[[], None] = lambda: None

    def page(self, connection: sa.Connection, after: Any) -> tuple[Digests, Any]:
        sql = (
            f"SELECT * FROM ({clinic.ENTITIES[self.entity]}) AS x WHERE id > {after or 0} ORDER BY id LIMIT {self.size}"
        )
        rows = connection.execute(sa.text(sql)).all()
        self.between()
        return {str(row[0]): repr(tuple(row)) for row in rows}, rows[-1][0] if len(rows) == self.size else None

    def read(self, connection: sa.Connection, keys: Collection[str]) -> Digests:
        found = clinic.state(connection, {self.entity: list(keys)})[self.entity]
        return {key: repr(row) for key, row in found.items()}


@dataclass
class Replica:
    """What has been applied, kept by cuts as the synchronisation would."""

    engine: sa.Engine
    journal: Journal
    entity: str
    at: str = ""
    rows: dict[str, str] = field(default_factory=dict)

    def apply(self) -> None:
        with next_cut(self.journal, self.engine, self.engine, self.at or None) as (connection, cut):
            first = not self.at
            keys = None if first else {self.entity: list(cut.keys.get(self.entity, ()))}
            found = clinic.state(connection, keys)[self.entity]
        gone = () if first else cut.keys.get(self.entity, ())
        self.rows = {key: row for key, row in self.rows.items() if key not in gone}
        self.rows |= {key: repr(row) for key, row in found.items()}
        self.at = cut.position

    def position(self) -> str:
        return self.at

    def digests(self, keys: Collection[str]) -> Digests:
        return {key: self.rows[key] for key in keys if key in self.rows}

    def keys(self) -> Collection[str]:
        return self.rows.keys()


@pytest.fixture
def replica(engine: sa.Engine, journal: Journal) -> Replica:
    replica = Replica(engine, journal, "person")
    replica.apply()
    return replica


def sweep(replica: Replica, throttle: Throttle = FREE, between: Callable[[], None] = lambda: None) -> Swept:
    rows = ClinicRows(replica.entity, between=between)
    return Sweep(
        replica.entity, replica.journal, partial(snapshot, replica.engine), rows, replica, throttle
    ).run()  # fmt: skip


def test_nothing_is_missed_where_nothing_was(replica: Replica, write: Write) -> None:
    write("UPDATE person SET name = 'x' WHERE id = 3", "DELETE FROM person WHERE id = 4")
    replica.apply()
    swept = sweep(replica)
    assert (swept.missed, swept.rows, swept.complete, swept.miss_rate) == (set(), 19, True, 0.0)


def test_each_planted_miss_is_found(replica: Replica, write: Write) -> None:
    """An update, a birth, a death and a child's change, each behind the journal's back."""
    write(
        "UPDATE person SET name = 'unseen' WHERE id = 3",
        "INSERT INTO person VALUES (77, 'unseen')",
        "DELETE FROM person WHERE id = 4",
        "UPDATE address SET city = 'unseen' WHERE person_id = 20",
        "DELETE FROM medferry_change WHERE op <> 'F'",
    )
    replica.apply()
    swept = sweep(replica)
    assert swept.missed == {"3", "77", "4", "20"}
    assert swept.miss_rate == pytest.approx(4 / 20)


def test_a_truncate_that_no_trigger_sees_is_found(replica: Replica, write: Write) -> None:
    if replica.engine.dialect.name != "mysql" and replica.engine.dialect.name != "mariadb":
        pytest.skip("of MySQL and MariaDB")
    write("TRUNCATE address")
    replica.apply()
    assert len(sweep(replica).missed) == 20


def test_a_trigger_that_was_off_leaves_misses(replica: Replica, write: Write) -> None:
    with replica.engine.connect() as connection:
        drop = [t.drop[0] for t in replica.journal.found(connection) if t.table == "person"]
    write(*drop, "UPDATE person SET name = 'unseen' WHERE id = 9")
    install(replica.engine, replica.journal)
    assert sweep(replica).missed == {"9"}


def test_what_waits_in_the_journal_is_no_miss(replica: Replica, write: Write) -> None:
    write("UPDATE person SET name = 'x' WHERE id = 3", "INSERT INTO person VALUES (77, 'x')")
    write("DELETE FROM person WHERE id = 4")
    assert sweep(replica).missed == set()


def test_what_others_write_and_apply_meanwhile_is_no_miss(replica: Replica, write: Write) -> None:
    steps: Iterator[Callable[[], None]] = iter(
        [
            partial(write, "UPDATE person SET name = 'x' WHERE id IN (1, 20)"),
            partial(write, "INSERT INTO person VALUES (-5, 'behind the page')"),
            replica.apply,
        ]
    )

    def between() -> None:
        for step in islice(steps, 1):
            step()

    assert sweep(replica, between=between).missed == set()


def test_a_stop_ends_it_after_a_page(replica: Replica) -> None:
    swept = sweep(replica, Throttle(rows_per_second=1e9, latency=60, stopped=lambda: True))
    assert (swept.rows, swept.complete) == (7, False)


def test_it_waits_for_its_rate_and_gives_way_to_a_slow_database() -> None:
    waits: list[float] = []
    throttle = Throttle(rows_per_second=100, latency=0.5, sleep=waits.append)
    throttle.pause(rows=50, took=0.1)
    throttle.pause(rows=50, took=2.0)
    assert waits == [pytest.approx(0.4), pytest.approx(1.5)]
