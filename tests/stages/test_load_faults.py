"""The load stopped by a refused secret, a server that stays away, another worker. More of it is in tests/faults."""

from __future__ import annotations

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.errors import LeaseLost, MedferryError
from medferry.manifest import runs
from medferry.medplum.errors import Unauthorised
from medferry.settings import Settings
from medferry.stages import write
from medferry.stages.environment import Environment
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.options import RunOptions
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from tests.stages.test_pipeline import dispositions, migrate
from tests.tiny_platform import EXPECTED, RESOURCES

BATCH = {"method": "POST", "path": "/fhir/R4/?$"}


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
    tiny: Environment, medplum: EmbeddedMedplum
) -> None:
    medplum.inject({"kind": "cut-before", "every": 1, "skip": 2, **BATCH})
    with pytest.raises(MedferryError, match="could not be settled"):
        migrate(tiny, "first")
    medplum.inject()
    assert migrate(tiny, "first")["created"] == RESOURCES
    assert dispositions(tiny, "first") == EXPECTED


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
