"""What is tested elsewhere with one account, under the roles of PostgreSQL: each has every right that it needs.

Runs of the scheduler and of the command line are the working role's; what a person decides is written by the deciding
one. Most tests are those of other folders: here the manifest is another.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from medferry.fhir.sides import Side
from medferry.manifest import conflict_decisions, conflicts, leases
from medferry.manifest.exceptions import ExceptionState
from medferry.manifest.tables import lease
from medferry.runtime.environment import Environment
from medferry.workflows.decide import decide
from tests.cutover.conftest import captured, clinic, loaded, wave, write
from tests.cutover.test_four_eyes import acting, asked, test_there_and_back_by_two_each_time
from tests.cutover.test_panic import test_in_a_freeze_after_a_flip_and_again
from tests.cutover.test_switch import test_there_and_back_with_all_that_was_written
from tests.manifest.conftest import copied, url_as
from tests.manifest.test_conflicts import NEW
from tests.manifest.test_grants import FOLLOWS
from tests.stages.test_replay import MENDED, change, ends, replay
from tests.sync.test_conflicts_command import found, medferry, test_it_is_listed_shown_decided_and_applied, user
from tests.workflows.test_four_eyes import drift, exceptions
from tests.workflows.test_heal import test_a_twin_is_shown_and_removed_only_when_asked_for, there
from tests.workflows.test_migrate import migrate
from tests.workflows.test_purge import test_a_purge_that_fails_is_in_the_ledger_and_the_next_ends_it
from tests.workflows.test_retire import (
    flipped,
    test_it_is_taken_down_with_proof_and_the_journal_stays_for_the_others,
)

__all__ = [
    "acting",
    "asked",
    "captured",
    "clinic",
    "flipped",
    "found",
    "loaded",
    "medferry",
    "test_a_purge_that_fails_is_in_the_ledger_and_the_next_ends_it",
    "test_a_twin_is_shown_and_removed_only_when_asked_for",
    "test_in_a_freeze_after_a_flip_and_again",
    "test_it_is_listed_shown_decided_and_applied",
    "test_it_is_taken_down_with_proof_and_the_journal_stays_for_the_others",
    "test_there_and_back_by_two_each_time",
    "test_there_and_back_with_all_that_was_written",
    "there",
    "user",
    "wave",
    "write",
]


@pytest.fixture
def tiny(tiny: Environment, granting: str) -> Iterator[Environment]:
    """The tiny platform, whose manifest is opened by the roles."""
    name = f"m{uuid.uuid4().hex}"
    url = copied(granting, name)
    settings = replace(tiny.settings, manifest_url=url_as("worker", url), decision_url=url_as("decider", url))
    yield Environment(tiny.migration, settings)
    server = sa.create_engine(granting, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


def test_dead_letters_run_again_where_a_dead_worker_had_the_lease(tiny: Environment) -> None:
    migrate(tiny, "first")
    with tiny.manifest.begin() as connection:
        leases.acquire(connection, tiny.migration.name, "dead", ["south/patient", "south/weight"])
        connection.execute(sa.update(lease).values(expires_at="2020-01-01T00:00:00.000Z"))
    change(tiny, *MENDED)
    replay(tiny)
    assert ends(tiny, "again")["patient", "4"] == "successful"
    with tiny.manifest.begin() as connection:
        assert not leases.alive(connection, "dead")


def changed_by(statement: str) -> set[str]:
    """The table that a statement adds to, or the columns that it sets."""
    if inserted := re.match(r"INSERT INTO (\w+)", statement):
        return {inserted[1]}
    updated = re.match(r"UPDATE (\w+) SET (.*?) WHERE", statement, re.DOTALL)
    return {f"{updated[1]}.{column}" for column in re.findall(r"(\w+)=", updated[2])} if updated else set()


def test_who_decides_uses_every_right_of_his(tiny: Environment) -> None:
    drift(tiny)
    with tiny.manifest.begin() as connection:
        conflict = conflicts.record_conflict(connection, NEW)
    used = set[str]()
    sa.event.listen(tiny.decisions, "before_cursor_execute", lambda _, __, text, *___: used.update(changed_by(text)))
    for one in exceptions(tiny):
        decide(tiny, one.id, ExceptionState.ACCEPTED, approver="A. Person", action="It is known.")
    with tiny.decisions.begin() as connection:
        conflict_decisions.decide(connection, conflict, (), Side.MEDPLUM, "A. Person", "It is right.")
    assert used == FOLLOWS | {"audit", "decision"}
