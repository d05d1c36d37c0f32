"""Notes of what was sent: open until everything of them is known, by two clocks."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from medferry.manifest import leases, sent_batches
from medferry.manifest.clock import clock, read_clock, seconds_between
from medferry.manifest.known_lines import names_in_doubt
from medferry.manifest.runs import SliceRow
from medferry.manifest.sent_batches import Sending, SentEntry
from medferry.manifest.tables_of_sending import sent_batch

SLICE = SliceRow("r", "patient-00000", "patient", 0, ["u"], None, None, None, 3, "transformed", 1, 1)
ENTRIES = [SentEntry("urn:s", key, "create", "Patient", f"hash {key}") for key in ("1", "2", "3")]


def note(manifest: sa.Engine, entries: list[SentEntry] = ENTRIES) -> int:
    with manifest.begin() as connection:
        return sent_batches.note(connection, "m", SLICE, entries)


def kept(manifest: sa.Engine) -> list[tuple[str, ...]]:
    """The keys of each open note."""
    with manifest.begin() as connection:
        return [tuple(e.value for e in b.entries) for b in sent_batches.open_batches(connection, "m", ["patient"])]


def age(manifest: sa.Engine, seconds: float) -> None:
    with manifest.begin() as connection:
        connection.execute(sa.update(sent_batch).values(sent_at=clock(connection, -seconds)))


def test_a_note_is_open_until_it_is_ended(manifest: sa.Engine) -> None:
    first, second = note(manifest), note(manifest)
    with manifest.begin() as connection:
        [one, _] = sent_batches.open_batches(connection, "m")
        assert (one.id, one.run_id, one.entity, one.entries) == (first, "r", "patient", tuple(ENTRIES))
        assert sent_batches.any_open(connection, "m", "patient", "")
        assert not sent_batches.any_open(connection, "m", "weight", "")
        assert not sent_batches.any_open(connection, "other", "patient", "")
        sent_batches.end(connection, [first])
    assert kept(manifest) == [("1", "2", "3")]
    with manifest.begin() as connection:
        sent_batches.end(connection, {first, second})
        assert not sent_batches.any_open(connection, "m", "patient", "")


def test_what_is_known_is_taken_out_and_the_last_closes_the_note(manifest: sa.Engine) -> None:
    one, other = note(manifest), note(manifest)
    with manifest.begin() as connection:
        sent_batches.settle_entries(connection, {(one, ("urn:s", "2")), (other, ("urn:s", "1"))})
    assert kept(manifest) == [("1", "3"), ("2", "3")]
    with manifest.begin() as connection:
        sent_batches.settle_entries(connection, {(one, ("urn:s", "1")), (one, ("urn:s", "3"))})
        sent_batches.settle_entries(connection, set())
    assert kept(manifest) == [("2", "3")]


def test_an_id_that_could_not_be_proven_is_kept(manifest: sa.Engine) -> None:
    number = note(manifest)
    answered = SentEntry("urn:s", "2", "create", "Patient", "hash 2", "id", "1")
    with manifest.begin() as connection:
        sent_batches.keep_only(connection, number, [answered])
        [batch] = sent_batches.open_batches(connection, "m")
        assert batch.entries == (answered,)
        sent_batches.keep_only(connection, number, [])
        assert sent_batches.open_batches(connection, "m") == []


def test_what_is_only_watched_is_in_doubt_no_more(manifest: sa.Engine) -> None:
    note(manifest)
    names = {entry.name for entry in ENTRIES}
    for seconds, patience, in_doubt in ((0, 600, names), (599, 600, names), (700, 600, set()), (700, 900, names)):
        age(manifest, seconds)
        with manifest.begin() as connection:
            assert names_in_doubt(connection, "m", patience, "") == in_doubt


def test_a_note_is_watched_for_a_day(manifest: sa.Engine) -> None:
    note(manifest)
    age(manifest, sent_batches.WATCHED_SECONDS - 60)
    with manifest.begin() as connection:
        [batch] = sent_batches.open_batches(connection, "m")
    assert sent_batches.WATCHED_SECONDS - 61 < batch.age < sent_batches.WATCHED_SECONDS
    age(manifest, sent_batches.WATCHED_SECONDS + 60)
    assert kept(manifest) == []


def test_times_are_the_database_s(manifest: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is a day ahead sees the ages, and the leases, that all others see."""

    class Ahead:
        @staticmethod
        def now(*_: Any) -> None:
            raise AssertionError("the host's clock was asked")

    with manifest.begin() as connection:
        assert 59 < seconds_between(read_clock(connection), read_clock(connection, 60.0)) < 61
    monkeypatch.setattr("medferry.manifest.database.datetime", Ahead)
    number = note(manifest)
    with manifest.begin() as connection:
        [batch] = sent_batches.open_batches(connection, "m")
        assert batch.id == number and batch.age < 60
        leases.acquire(connection, "m", "r", ["u/patient"])
        leases.check(connection, "m", "r", ["u/patient"])
        assert leases.alive(connection, "r")
        with pytest.raises(leases.LeaseHeld):
            leases.acquire(connection, "m", "other", ["u/patient"])


def test_the_lesser_of_two_clocks_says_how_old_a_note_is(manifest: sa.Engine) -> None:
    """The database's is set forward an hour, or Medplum's is: neither makes anything old alone."""
    at = "2026-01-01T12:00:{:02d}.000Z"

    def seen(known: str, server_now: str | None) -> float | None:
        with manifest.begin() as connection:
            connection.execute(sa.delete(sent_batch))
            sent_batches.note(connection, "m", SLICE, ENTRIES, Sending(600.0, known))
            connection.execute(sa.update(sent_batch).values(sent_at=clock(connection, -3_600)))
            found = sent_batches.open_batches(connection, "m", server_now=server_now)
        assert {batch.settle_seconds for batch in found} <= {600.0}
        return round(found[0].age) if found else None

    assert seen(at.format(0), at.format(5)) == 6  # it is known to the second
    assert seen(at.format(0), "2026-01-01T14:00:00.000Z") == 3_600
    assert seen(at.format(5), at.format(0)) == 1
    assert seen(at.format(0), "") == 0  # nobody has told it yet
    assert seen(at.format(0), None) == seen("", at.format(5)) == 3_600


def test_a_clock_that_is_days_ahead_takes_no_note_from_those_who_watch(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        sent_batches.note(connection, "m", SLICE, ENTRIES, Sending(600.0, "2026-01-01T12:00:00.000Z"))
        connection.execute(sa.update(sent_batch).values(sent_at=clock(connection, -2 * sent_batches.WATCHED_SECONDS)))
        assert sent_batches.any_open(connection, "m", "patient", "2026-01-01T12:00:30.000Z")
        assert not sent_batches.any_open(connection, "m", "patient", "2026-01-03T12:00:30.000Z")


def test_who_has_had_no_answer_lets_the_note_begin_anew(manifest: sa.Engine) -> None:
    names = {entry.name for entry in ENTRIES}
    lost, ended = note(manifest), note(manifest)
    age(manifest, 700)
    with manifest.begin() as connection:
        sent_batches.end(connection, [ended])
        sent_batches.renew(connection, lost, 5)
        sent_batches.renew(connection, ended, 0)
        assert names_in_doubt(connection, "m", 600, "") == names
    age(manifest, 700)
    with manifest.begin() as connection:
        assert names_in_doubt(connection, "m", 600, "") == set()
