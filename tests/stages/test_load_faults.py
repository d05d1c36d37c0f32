"""The load against a server that fails: nothing is lost, nothing doubled, nothing rejected that was only delayed."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa

from embedded_medplum.server import EmbeddedMedplum
from medferry.errors import LeaseLost, MedferryError
from medferry.manifest import runs
from medferry.manifest.tables import attempt
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
SEARCH = {"method": "POST", "path": "_search"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoff between rounds takes no time here; the quota's waits stay."""
    monkeypatch.setattr(write.random, "uniform", lambda *_: 0.0)


FAULTS = {
    "429 for whole requests": [{"kind": "throttle", "every": 3, "ms_before_next": 50}],
    "429 inside a 200": [{"kind": "entry-throttle", "every": 7, "ms_before_next": 50}],
    "conflicts": [{"kind": "entry-conflict", "probability": 0.4, "seed": 1}],
    "entries fail": [{"kind": "entry-error", "probability": 0.4, "seed": 2}],
    "requests fail": [{"kind": "error", "status": 503, "probability": 0.3, "seed": 3, **BATCH}],
    "cut before the commit": [{"kind": "cut-before", "probability": 0.4, "seed": 4, **BATCH}],
    "answer lost after the commit": [{"kind": "cut-after", "probability": 0.5, "seed": 5, **BATCH}],
    "a 200 that stored nothing": [{"kind": "phantom", "next": 3, **BATCH}],
    "look-ups and read-backs fail": [{"kind": "error", "status": 502, "probability": 0.3, "seed": 6, **SEARCH}],
    "token revoked on the way": [{"kind": "revoke-token", "every": 5, **BATCH}],
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_load_converges_under(name: str, tiny: Environment, medplum: EmbeddedMedplum) -> None:
    medplum.inject(*FAULTS[name])
    migrate(tiny, "first", batch_size=5, slice_rows=10)
    medplum.inject()
    assert dispositions(tiny, "first") == EXPECTED
    assert identifiers_in_medplum(tiny) == Counter(dict.fromkeys(identifiers_in_medplum(tiny), 1))
    assert migrate(tiny, "second") == {"created": 0, "updated": 0, "unchanged": RESOURCES}


def identifiers_in_medplum(tiny: Environment) -> Counter[tuple[str, str]]:
    """How often each source identifier is there, found by the tag and not by the crosswalk."""
    found: Counter[tuple[str, str]] = Counter()
    with tiny.medplum() as client:
        for resource_type in ("Organization", "Practitioner", "PractitionerRole", "Patient", "Observation"):
            for resource in client.search_all(resource_type, [("_tag", "urn:medferry:migration|tiny")]):
                found[resource["identifier"][0]["system"], resource["identifier"][0]["value"]] += 1
    assert len(found) == RESOURCES
    return found


def test_only_the_affected_entries_are_sent_again(tiny: Environment, medplum: EmbeddedMedplum) -> None:
    medplum.inject({"kind": "entry-conflict", "next": 3})
    migrate(tiny, "first")
    with tiny.manifest.begin() as connection:
        statuses = Counter(connection.scalars(sa.select(attempt.c.status).where(attempt.c.run_id == "first")))
    assert statuses == {201: RESOURCES, 409: 3, 400: 1}


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
