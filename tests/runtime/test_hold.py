"""Who may write: checked in the transaction that writes, and nothing of it stays when the hold is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from medferry.errors import LeaseLost
from medferry.manifest import leases, runs
from medferry.manifest.tables import lease
from medferry.runtime.environment import Environment, own_run, scopes_of
from medferry.runtime.hold import Hold
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import prepare_run, scope_of


@pytest.fixture
def hold(tiny: Environment) -> Hold:
    return prepared(tiny, RunOptions())


def prepared(tiny: Environment, options: RunOptions) -> Hold:
    [clinics] = prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, ["clinic"]), options)
    run, _ = own_run(tiny, "first")
    return Hold(tiny, run, clinics)


def take_slice(hold: Hold, connection: sa.Connection) -> None:
    runs.take_slice(connection, "first", "clinic-00000")


def get_further(hold: Hold, connection: sa.Connection) -> None:
    runs.set_stage(connection, "first", "clinic-00000", runs.SliceStage.EXTRACTED)


def take_over(hold: Hold, connection: sa.Connection) -> None:
    leases.acquire(connection, hold.run.migration, "second", scopes_of(hold.run)[:1], take_over=True)


def test_who_holds_the_slice_and_the_scopes_may_write(hold: Hold) -> None:
    for eligible in (7, 8):
        with hold.writing() as connection:
            runs.set_extracted(connection, "first", "clinic-00000", eligible)
    with hold.environment.manifest.begin() as connection:
        assert runs.get_slice(connection, "first", "clinic-00000").eligible == 8


@pytest.mark.parametrize("lose", [take_slice, get_further, take_over])
def test_who_has_lost_it_writes_nothing(hold: Hold, lose: Callable[[Hold, sa.Connection], None]) -> None:
    with hold.environment.manifest.begin() as connection:
        lose(hold, connection)
    with pytest.raises(LeaseLost), hold.writing() as connection:
        runs.set_extracted(connection, "first", "clinic-00000", 7)
    with pytest.raises(LeaseLost):
        hold.keep()
    with hold.environment.manifest.begin() as connection:
        assert runs.get_slice(connection, "first", "clinic-00000").eligible == 4


def test_without_a_slice_the_scopes_alone_count(hold: Hold) -> None:
    scopes = Hold(hold.environment, hold.run)
    with hold.environment.manifest.begin() as connection:
        take_slice(hold, connection)
    scopes.keep()
    with hold.environment.manifest.begin() as connection:
        take_over(hold, connection)
    with pytest.raises(LeaseLost):
        scopes.keep()


def test_keeping_renews_the_leases(hold: Hold) -> None:
    with hold.environment.manifest.begin() as connection:
        connection.execute(sa.update(lease).values(expires_at="2000-01-01T00:00:00.000Z"))
    hold.keep()
    with hold.environment.manifest.begin() as connection:
        assert leases.alive(connection, "first")


def test_a_dry_run_holds_its_slice_and_no_leases(tiny: Environment) -> None:
    dry = prepared(tiny, RunOptions(dry_run=True))
    dry.keep()
    with tiny.manifest.begin() as connection:
        assert not leases.alive(connection, "first")
        take_slice(dry, connection)
    with pytest.raises(LeaseLost):
        dry.keep()
