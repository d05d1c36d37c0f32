"""Who does not keep to the protocol: late, old and idle transactions, other operators, clocks, and who ignores it all.

What a gate alone does about them is tested for each engine (tests/changes/test_gate.py); here a whole cutover meets
them: on PostgreSQL where the adversary is a transaction, in `make faults` on MariaDB, too.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.cutover.acts import BACK, FORTH, Act, Place
from medferry.cutover.gates import Gates
from medferry.cutover.machine import NotFlipped, Outcome
from medferry.source.gate.gate import GATE, REFUSAL
from medferry.workflows.cutover import Choice, CutoverBusy, cut_over, prepare, roll_back
from tests.cutover.conftest import Clinic
from tests.cutover.game_day import ROUNDS, GameDay, day
from tests.cutover.routed_clients import Diary, Stubborn, System
from tests.cutover.test_switch import choice, family, in_medplum, legacy_writes, places

__all__ = ["day"]

WHO = Choice("A. Operator", freeze=120.0, patience=30.0)
SERIALIZATION = "40001"
"""PostgreSQL's word for: your snapshot is older than what you touch."""


@pytest.mark.parametrize("day", ["postgresql", "mariadb"] if ROUNDS else ["postgresql"], indirect=True)
def test_transactions_that_are_old_idle_or_late(day: GameDay) -> None:
    """One fixture for all three: it costs more than they do."""
    prepare(day.environment, "pilot", WHO)
    _one_that_idles_keeps_the_unit_where_it_is(day)
    with day.legacy.engine.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.exec_driver_sql("SELECT count(*) FROM patient").scalar()
        old.exec_driver_sql(f"SELECT count(*) FROM {GATE}").scalar()  # it goes on seeing an open gate
        _one_that_wrote_before_the_freeze_arrives(day)
        assert _refused(old, "UPDATE patient SET family = '9' WHERE id = 103"), "its snapshot is from before"
    _who_ignores_the_routing_is_refused(day, "legacy", day.legacy)
    assert (day.in_legacy["103"], day.in_medplum["103"]) == (0, 0)
    assert roll_back(day.environment, "pilot", WHO) is Outcome.RETURNED
    _who_ignores_the_routing_is_refused(day, "medplum", day.medplum)
    assert day.legacy.write("103", 5) == 0


def _one_that_idles_keeps_the_unit_where_it_is(day: GameDay) -> None:
    with day.legacy.engine.connect() as idle:
        idle.exec_driver_sql("UPDATE patient SET family = '1' WHERE id = 101")
        with pytest.raises(NotFlipped, match="not ended in time"):
            cut_over(day.environment, "pilot", replace(WHO, patience=1.0))
        assert _places(day) == {Place.LEGACY}
        assert day.legacy.write("104", 4) == 0, "others go on"
        idle.commit()


def _one_that_wrote_before_the_freeze_arrives(day: GameDay) -> None:
    """In a snapshot of its own; it commits while the closing waits for it."""
    outcome: list[Outcome] = []
    mover = threading.Thread(target=lambda: outcome.append(cut_over(day.environment, "pilot", WHO)))
    with day.legacy.engine.connect().execution_options(isolation_level="REPEATABLE READ") as late:
        late.exec_driver_sql("UPDATE patient SET family = '2' WHERE id = 102")
        mover.start()
        while Place.FROZEN not in _closing(day) and mover.is_alive():
            pass
        late.exec_driver_sql("UPDATE patient SET family = '3' WHERE id = 102")
        late.commit()
    mover.join()
    assert outcome == [Outcome.FLIPPED]
    assert [day.in_medplum[key] for key in ("101", "102", "104")] == [1, 3, 4]


def _closing(day: GameDay) -> set[Place]:
    """Where the unit is; on MariaDB the closer's lock hides that it has begun, so whoever waits is asked for."""
    if day.legacy.engine.dialect.name == "postgresql":
        return _places(day)
    waiting = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE CONCAT('%%FOR', ' UPDATE%%')"
    with day.legacy.engine.connect() as connection:
        return {Place.FROZEN} if connection.exec_driver_sql(waiting).scalar() else set()


def _refused(connection: sa.Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as error:
        return REFUSAL in str(error.orig) or getattr(error.orig, "sqlstate", "") == SERIALIZATION
    return False


def _who_ignores_the_routing_is_refused(day: GameDay, name: str, system: System) -> None:
    """Straight into the closed side: nothing is acknowledged, each try is counted."""
    diary = Diary()
    stubborn = Stubborn(diary, "north", ["105"], {name: system}, system=name)
    for _ in range(3):
        stubborn.act(lambda: False)
    assert (diary.writes, diary.refusals) == ([], {name: 3})


def _places(day: GameDay) -> set[Place]:
    with day.environment.medplum() as client:
        return set(Gates(day.environment, client).places(["north"]).values())


# -- operators and clocks: what SQLite shows as well ----------------------------------------------


def test_two_operators_at_once(clinic: Clinic) -> None:
    """While one is at work, at whichever act, another is told so, whatever he wants; and nothing of it is done."""
    refused: list[Act] = []

    def another_comes(act: Act, _: str) -> None:
        for way in (cut_over, roll_back, prepare):
            with pytest.raises(CutoverBusy):
                way(clinic.environment, "pilot", choice())
        refused.append(act)

    busy = replace(choice(), tell=another_comes)
    assert cut_over(clinic.environment, "pilot", busy) is Outcome.FLIPPED
    assert roll_back(clinic.environment, "pilot", busy) is Outcome.RETURNED
    assert refused == [*FORTH, *BACK] and places(clinic) == {Place.LEGACY}


IN_THE_FREEZE = (Act.CLOSE_LEGACY, Act.REVERSE_START)
"""After its first act, and before the flip."""


def _gate(clinic: Clinic, days: float) -> None:
    """Set the legacy clock forward, or back: to a gate it is the same as if its own time were another."""
    with clinic.environment.source.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {GATE} SET closed_until = closed_until - {days} WHERE closing")


def test_a_freeze_that_ends_too_early_flips_nothing(clinic: Clinic) -> None:
    """Its time is over, or the legacy clock was set forward; and at once somebody writes."""
    for number, last in enumerate(IN_THE_FREEZE):
        name = f"Adair {number}"

        def over(act: Act, _: str, last: Act = last, name: str = name) -> None:
            if act is last:
                _gate(clinic, days=1)
                assert legacy_writes(clinic, 1, name)

        with pytest.raises(NotFlipped, match="freeze of north is over"):
            cut_over(clinic.environment, "pilot", replace(choice(), tell=over))
        assert places(clinic) == {Place.LEGACY} and family(clinic, 1) == name
    assert cut_over(clinic.environment, "pilot", choice()) is Outcome.FLIPPED
    assert in_medplum(clinic, 1) == name


def test_clocks_that_are_set_back(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fixture for both: it costs more than they do."""
    _the_legacy_one_keeps_nobody_out(clinic, monkeypatch)
    _the_manifest_one_flips_nothing(clinic)


def _the_legacy_one_keeps_nobody_out(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The freeze would end by itself a day late: whoever comes after its dead owner thaws it at once."""

    def set_back_and_die(act: Act, _: str) -> None:
        if act is Act.FINAL_CUT:
            _gate(clinic, days=-1)
            monkeypatch.setattr("medferry.cutover.machine._thaw", lambda *_: None)
            raise KeyboardInterrupt

    with pytest.raises(NotFlipped):
        cut_over(clinic.environment, "pilot", replace(choice(), tell=set_back_and_die))
    monkeypatch.undo()
    assert places(clinic) == {Place.FROZEN} and not legacy_writes(clinic, 1, "Lost")
    assert roll_back(clinic.environment, "pilot", choice()) is Outcome.NOT_FLIPPED
    assert legacy_writes(clinic, 1, "Adair")


def _the_manifest_one_flips_nothing(clinic: Clinic) -> None:
    """What is decided by it afterwards would seem to be from before the verification, and be passed over."""

    def set_back(act: Act, _: str) -> None:
        if act is Act.FINAL_CUT:
            with clinic.environment.manifest.begin() as connection:
                connection.execute(sa.text("UPDATE cutover_act SET ended_at = '2020-01-01T00:00:00.000Z'"))

    with pytest.raises(NotFlipped, match="clock was set back"):
        cut_over(clinic.environment, "pilot", replace(choice(), tell=set_back))
    assert places(clinic) == {Place.LEGACY}
