"""A verification while both systems move: what is on its way is told as that, and hides nothing that stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medferry.errors import VerificationFailed
from medferry.governance.verdict import Verdict
from medferry.manifest.subject import Subject
from medferry.source.changes.engines import install
from medferry.sync.cycle import cycle
from medferry.sync.in_flight import unread_edits
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.status import status_of
from medferry.sync.wave import SyncedWave
from medferry.verification import second_look
from medferry.workflows.verify_in_step import verify_present
from tests.sync.conftest import Write
from tests.sync.test_merge import User, user
from tests.sync.test_reverse_cycle import both

__all__ = ["both", "user"]

PENDING = (
    "UPDATE patient SET family = 'Adair' WHERE id = 1",
    "INSERT INTO patient VALUES (9, 'north', 1, 'New', '2000-01-01', 'F', NULL)",
)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(second_look, "PATIENCE_SECONDS", 0.0)
    yield


def verdict(wave: SyncedWave) -> Verdict:
    return verify_present(wave.environment, Subject(units=tuple(wave.units))).verdict


def faults(found: Verdict) -> set[tuple[str, str]]:
    return {(one.name, one.entity) for one in found.unresolved}


def test_what_is_quiet_is_proven_and_what_waits_in_the_journal_is_in_flight(wave: SyncedWave, write: Write) -> None:
    assert verdict(wave).text() == "proven"
    write(*PENDING)
    found = verdict(wave)
    assert (found.text(), found.passed) == ("proven but for 3 in flight", False), "two records and a number of rows"
    found.require_passed("")
    cycle(wave)
    assert verdict(wave).text() == "proven"


def test_what_stands_in_two_looks_counts_beside_what_moves(wave: SyncedWave, write: Write, user: User) -> None:
    user.rename("Baker")  # nothing brings it anywhere: this wave is not written back
    write("UPDATE patient SET family = 'Bell' WHERE id = 2")
    found = verdict(wave)
    assert found.text() == "not proven"
    assert {name for name, _ in faults(found)} == {
        "content: as written",
        "value: main/family",
        "versions: changed since the load",
    }
    assert {one.different for one in found.unresolved} == {1}
    with pytest.raises(VerificationFailed):
        found.require_passed("")


def test_an_edit_that_no_cycle_has_read_is_in_flight_until_one_has(both: SyncedWave, user: User) -> None:
    user.rename("Baker")
    assert verdict(both).text() == "proven but for 1 in flight"
    back_cycle(both)
    assert verdict(both).text() in ("proven", "proven but for 1 in flight"), "the row's own change waits in the journal"
    cycle(both)
    assert verdict(both).text() == "proven"
    user.put(gender="other")
    back_cycle(both)
    assert verdict(both).text() == "not proven", "it is held back, so it is on no way"


def test_what_is_set_aside_waits_for_a_person_and_is_on_no_way(wave: SyncedWave, write: Write) -> None:
    """Else each night would say "proven but for" of an entity of which nothing arrives."""
    write("DROP TRIGGER medferry_patient_update")
    cycle(wave)
    assert verdict(wave).text() == "proven"
    write(*PENDING)
    assert verdict(wave).text() == "not proven"
    install(wave.environment.capture, wave.journal)
    cycle(wave)
    assert verdict(wave).text() == "proven"


def test_what_arrives_between_the_looks_is_equal(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(*PENDING)
    looked = list[object]()

    def arrives(_: float) -> None:
        looked.append(cycle(wave))

    monkeypatch.setattr(second_look, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(second_look.time, "sleep", arrives)
    assert (verdict(wave).text(), len(looked)) == ("proven", 1)


def test_what_is_written_while_it_looks_again_is_in_flight(
    wave: SyncedWave, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has looked at it since, so nothing says that it is equal."""
    write(PENDING[0])
    real = second_look.SecondLook.settle

    def settle(look: second_look.SecondLook, after: second_look.Moving) -> None:
        cycle(wave)
        real(look, after)

    monkeypatch.setattr(second_look.SecondLook, "settle", settle)
    assert verdict(wave).text().startswith("proven but for")


def test_the_lag_of_the_way_back_is_known_once_a_row_was_written(both: SyncedWave, user: User) -> None:
    [feed] = status_of(both).feeds
    assert (feed.resource_type, feed.lag_p50, feed.lag_p99) == ("Patient", None, None)
    user.rename("Baker")
    with both.environment.medplum() as client:
        assert unread_edits(both, client) == {"patient": {"1"}}
    back_cycle(both)
    [feed] = status_of(both).feeds
    assert feed.lag_p50 == feed.lag_p99 is not None and 0 <= feed.lag_p50 < 60
    with both.environment.medplum() as client:
        assert unread_edits(both, client) == {}
