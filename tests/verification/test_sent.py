"""What was sent and got no answer keeps a verdict from being "proven": while it may arrive, and when it has doubled."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.governance.verdict import verdict_of
from medferry.manifest import sent_batches
from medferry.manifest.clock import clock
from medferry.manifest.runs import get_slice, slices_of
from medferry.manifest.sent_batches import Sending, SentEntry
from medferry.manifest.tables_of_sending import sent_batch
from medferry.runtime.environment import Environment
from medferry.verification.run import verify_run
from medferry.verification.sent import AT_AN_END
from tests.workflows.test_migrate import migrate

UNKNOWN = Sending()


def verified(tiny: Environment) -> tuple[str, str]:
    """The verdict, and the status of the check."""
    results = verify_run(tiny, "first", force=True)
    [status] = [str(result.status) for result in results if result.name == AT_AN_END]
    with tiny.manifest.begin() as connection:
        return verdict_of(connection, "first").text(), status


def note(tiny: Environment, key: str, sending: Sending = UNKNOWN) -> None:
    """As if another worker had sent this clinic a moment ago, and died."""
    entry = SentEntry(tiny.migration.naming.system("clinic"), key, "create", "Organization", "hash")
    with tiny.manifest.begin() as connection:
        [clinics] = [part for part in slices_of(connection, "first") if part.entity == "clinic"]
        sent_batches.note(connection, "tiny", get_slice(connection, "first", clinics.id), [entry], sending)


def age(tiny: Environment, seconds: float) -> None:
    with tiny.manifest.begin() as connection:
        is_open = sent_batch.c.ended_at.is_(None)
        connection.execute(sa.update(sent_batch).where(is_open).values(sent_at=clock(connection, -seconds)))


def test_a_verdict_settles_while_something_may_arrive_and_a_late_twin_is_named(tiny: Environment) -> None:
    migrate(tiny, "first")
    assert verified(tiny) == ("proven", "equal")
    note(tiny, "1")
    age(tiny, -60)  # this server has half a second, and the test may take longer
    assert verified(tiny) == ("settling", "settling")
    age(tiny, 60)
    assert verified(tiny) == ("proven", "equal")
    with tiny.medplum() as client:
        system = tiny.migration.naming.system("clinic")
        [found] = client.search("Organization", [("identifier", f"{system}|1")])["entry"]
        twin = {name: value for name, value in found["resource"].items() if name not in ("id", "meta")}
        client.batch([{"resource": twin, "request": {"method": "POST", "url": "Organization"}}], 100)
    assert verified(tiny) == ("not proven", "different")
    age(tiny, sent_batches.WATCHED_SECONDS + 60)
    assert verified(tiny) == ("not proven", "equal")  # the twin itself is found by the identifiers as before


def test_a_note_settles_as_long_as_its_sender_would_wait_and_by_medplum_s_clock_too(tiny: Environment) -> None:
    migrate(tiny, "first")
    note(tiny, "1", Sending(600.0))
    age(tiny, 60)  # this verifier has half a second
    assert verified(tiny) == ("settling", "settling")
    age(tiny, 601)
    assert verified(tiny) == ("proven", "equal")
    with tiny.medplum() as client:
        client.any_of_system("Patient", "urn:s")
        present = client.server_clock.now()
    note(tiny, "2", Sending(600.0, present))
    age(tiny, 3_600)  # the manifest's clock was set forward an hour
    assert verified(tiny) == ("settling", "settling")
