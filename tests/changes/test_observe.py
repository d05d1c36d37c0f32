"""What a freeze would wait for: transactions that have written, none that only read, and whether they can be seen."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from medferry.source.changes.journal import Journal
from medferry.source.changes.observe import writing_transactions_seconds
from medferry.source.database import snapshot

READS, WRITES = "SELECT count(*) FROM remark", "UPDATE remark SET text = 'x' WHERE id = 1"


def seen(engine: sa.Engine, journal: Journal) -> list[int] | None:
    with snapshot(engine) as connection:
        return writing_transactions_seconds(journal, connection)


def eventually(asked: Callable[[], bool]) -> bool:
    """MariaDB tells of its transactions as they were a tenth of a second ago."""
    until = time.monotonic() + 20
    while not asked() and time.monotonic() < until:
        time.sleep(0.25)  # it is not refreshed for who asks more often
    return asked()


def test_who_writes_is_seen_and_who_reads_is_not(engine: sa.Engine, journal: Journal) -> None:
    if engine.dialect.name == "sqlite":
        assert seen(engine, journal) == []  # one writer at a time
        return
    with engine.connect() as reader, engine.connect() as writer:
        reader.exec_driver_sql(READS).all()
        assert eventually(lambda: seen(engine, journal) == [])
        writer.exec_driver_sql(WRITES)
        assert eventually(lambda: len(seen(engine, journal) or ()) == 1)
        writer.rollback()
        assert eventually(lambda: seen(engine, journal) == [])


def test_an_account_that_may_not_see_others_says_so(engine: sa.Engine, journal: Journal) -> None:
    """Nothing seen by who sees nothing would be a good sign that is none."""
    if engine.dialect.name != "postgresql":
        pytest.skip("MariaDB refuses the question; SQLite has no accounts")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS blind")
        connection.exec_driver_sql("CREATE ROLE blind")
    with engine.connect() as other, engine.connect() as blind:
        other.exec_driver_sql(READS).all()
        blind.exec_driver_sql("SET LOCAL ROLE blind")
        assert writing_transactions_seconds(journal, blind) is None
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE blind")
