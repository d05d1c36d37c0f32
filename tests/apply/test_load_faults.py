"""The load stopped by a refused secret, a server that stays away, another worker. More of it is in tests/faults."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from embedded_medplum.server import EmbeddedMedplum
from medferry.apply import writer as write
from medferry.errors import LeaseLost, MedferryError, VerificationFailed
from medferry.manifest import runs
from medferry.manifest.clock import clock
from medferry.manifest.known_lines import names_in_doubt
from medferry.manifest.slice_lock import SliceBusy, only_worker
from medferry.manifest.tables_of_sending import sent_batch
from medferry.mapping.apply import MappedRow
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable, Unauthorised
from medferry.runtime.environment import Environment
from medferry.runtime.options import LoadMode, RunOptions
from medferry.runtime.settings import Settings
from medferry.stages import patience, transform
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.patience import Patience
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from tests.tiny_platform import EXPECTED, RESOURCES
from tests.workflows.test_migrate import dispositions, migrate

BATCH = {"method": "POST", "path": "/fhir/R4/?$", "entries": "writes"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoff between rounds takes no time here; the quota's waits stay."""
    monkeypatch.setattr(write.random, "uniform", lambda *_: 0.0)


def test_a_refused_secret_pauses_the_run_and_fails_no_record(tiny: Environment) -> None:
    wrong = Environment(tiny.migration, with_secret(tiny.settings, "wrong"))
    with pytest.raises(Unauthorised, match="client id and secret"):
        migrate(wrong, "first")
    assert all(
        counts.keys() <= {"pending", "skipped", "quarantined"} for counts in dispositions(tiny, "first").values()
    )
    migrate(tiny, "first")
    assert dispositions(tiny, "first") == EXPECTED


def with_secret(settings: Settings, secret: str) -> Settings:
    values = {name: getattr(settings, name) for name in Settings.__slots__}
    return Settings(**{**values, "medplum_client_secret": secret})


def test_a_server_that_stays_away_stops_the_load_which_then_goes_on(
    tiny: Environment, medplum: EmbeddedMedplum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LEAST_SECONDS", 0.0)
    medplum.inject({"kind": "cut-before", "every": 1, "skip": 2, **BATCH})
    with pytest.raises(MedferryError, match="could not be settled"):
        migrate(tiny, "first")
    medplum.inject()
    assert migrate(tiny, "first")["created"] == RESOURCES
    assert dispositions(tiny, "first") == EXPECTED


def test_a_database_that_fails_for_long_rejects_nothing(
    tiny: Environment, medplum: EmbeddedMedplum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before can be tried, and fails too: however long that lasts, it says nothing of the rows."""
    monkeypatch.setattr(write, "_ALONE_SECONDS", 0.0)
    migrate(tiny, "shared", units=["shared"])
    medplum.inject({"kind": "entry-invalid", "every": 1})
    with pytest.raises(write.NotSettled, match="could not be settled"):
        migrate(tiny, "first")
    assert not any("rejected" in counts for counts in dispositions(tiny, "first").values())
    medplum.inject()
    migrate(tiny, "second")
    assert dispositions(tiny, "second") == EXPECTED


def test_a_stale_worker_is_fenced(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    [clinics] = prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, ["clinic"]), RunOptions())
    extract_slice(tiny, "first", clinics.id)
    transform_slice(tiny, "first", clinics.id)
    original = write.Writer.write

    def while_another_takes_over(self: write.Writer, *args: object) -> object:
        with tiny.manifest.begin() as connection:
            runs.take_slice(connection, "first", clinics.id)
        return original(self, *args)

    monkeypatch.setattr(write.Writer, "write", while_another_takes_over)
    with pytest.raises(LeaseLost, match="Another worker"):
        load_slice(tiny, "first", clinics.id)
    monkeypatch.undo()
    assert load_slice(tiny, "first", clinics.id) == {"successful": 4}


def test_a_transform_that_another_has_overtaken_writes_nothing(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    [clinics] = prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, ["clinic"]), RunOptions())
    extract_slice(tiny, "first", clinics.id)
    real = transform.map_row

    def overtaken(*args: Any) -> MappedRow:
        with tiny.manifest.begin() as connection:
            runs.set_stage(connection, "first", clinics.id, runs.SliceStage.LOADED)
        return real(*args)

    monkeypatch.setattr(transform, "map_row", overtaken)
    with pytest.raises(LeaseLost, match=r"Another worker took .* or got further"):
        transform_slice(tiny, "first", clinics.id)
    with tiny.manifest.begin() as connection:
        assert runs.get_slice(connection, "first", clinics.id).stage == "loaded"
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM source_unit")) == 0


def test_one_worker_at_a_time_stages_a_slice(tiny: Environment) -> None:
    [clinics] = prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, ["clinic"]), RunOptions())
    for stage in (extract_slice, transform_slice):
        with only_worker(tiny.manifest, "first", clinics.id), pytest.raises(SliceBusy):
            stage(tiny, "first", clinics.id)
        stage(tiny, "first", clinics.id)


@pytest.mark.parametrize("load_mode", list(LoadMode))
def test_two_resources_of_one_identifier_are_for_a_person(tiny: Environment, load_mode: LoadMode) -> None:
    twin = {
        "resourceType": "Organization",
        "name": "Twin",
        "identifier": [{"system": tiny.migration.naming.system("clinic"), "value": "1"}],
    }
    with tiny.medplum() as client:
        client.batch([{"resource": twin, "request": {"method": "POST", "url": "Organization"}}] * 2, 200)
    with pytest.raises(VerificationFailed):
        migrate(tiny, "first", load_mode=load_mode, stop_at_share=1.0)
    with tiny.manifest.begin() as connection:
        statement = "SELECT disposition, reason, place FROM source_unit WHERE entity = 'clinic' AND key = '1'"
        [(disposition, reason, place)] = connection.execute(sa.text(statement)).all()
    assert (disposition, reason) == ("quarantined", "ambiguous-target")
    assert place.startswith("2 resources: ")


def test_an_update_that_lost_its_answer_is_an_update(tiny: Environment, medplum: EmbeddedMedplum) -> None:
    """And a create a create, though the look-up after it finds them done."""
    medplum.inject({"kind": "cut-after", "every": 2, **BATCH})
    assert migrate(tiny, "first") == {"created": RESOURCES, "updated": 0, "unchanged": 0}


def test_what_may_have_left_later_than_it_was_noted_is_waited_for_from_the_loss(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stood still for an hour on the way out hears nothing: its batch may have left this moment."""
    sent, waits, in_doubt = MedplumClient.batch, Patience.wait, list[int]()

    def lost(client: MedplumClient, entries: Any, cost: int, **named: Any) -> Any:
        if not named.get("before") or in_doubt:
            return sent(client, entries, cost, **named)
        named["before"]()
        with tiny.manifest.begin() as connection:
            connection.execute(sa.update(sent_batch).values(sent_at=clock(connection, -3_600)))
        raise MedplumUnavailable("No answer.", "Wait.")

    def look(waiting: Patience, undecided: Counter[str], progress: bool) -> None:
        with tiny.manifest.begin() as connection:
            in_doubt.append(len(names_in_doubt(connection, "tiny", 60.0, "2999-01-01T00:00:00.000Z")))
        waits(waiting, undecided, progress)

    monkeypatch.setattr(MedplumClient, "batch", lost)
    monkeypatch.setattr(Patience, "wait", look)
    migrate(tiny, "first")
    assert in_doubt[0] > 0
    assert dispositions(tiny, "first") == EXPECTED
