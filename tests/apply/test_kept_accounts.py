"""Who may see a resource is for others to say: an update by a project's admin leaves it as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.apply.entry import batches
from medferry.apply.plan import Step
from medferry.apply.targets import ResolvedResource
from medferry.manifest import leases
from medferry.manifest.crosswalk import Action
from medferry.manifest.subject import Subject
from medferry.runtime.environment import Environment
from medferry.runtime.options import LoadMode
from medferry.verification.content import CONTENT, VERSIONS
from medferry.verification.run import verify_subject
from tests.apply.test_drift import MODES, Clinics

ACCOUNT = {"reference": "Organization/00000000-0000-4000-8000-00000000000a"}


@pytest.fixture
def medplum(tmp_path: Path) -> Iterator[EmbeddedMedplum]:
    """One whose client is an admin of its project."""
    with EmbeddedMedplum(faults=True, quota=1_000_000_000, project_admin=True) as server:
        yield server


def share(clinics: Clinics, key: str) -> None:
    """What ``$set-accounts`` does, as a version of its own."""
    with clinics.tiny.medplum() as client:
        parameters = {"resourceType": "Parameters", "parameter": [{"name": "accounts", "valueReference": ACCOUNT}]}
        request = {"method": "POST", "url": f"Organization/{clinics.only(key)['id']}/$set-accounts"}
        [outcome] = client.batch([{"resource": parameters, "request": request}], 100)
    assert outcome.status == 200


def accounts(clinics: Clinics) -> dict[str, list[str]]:
    """Source key → who may see it."""
    with clinics.tiny.medplum() as client:
        keys = ["1", "2", "3", "4"]
        found = client.by_name("Organization", clinics.system, keys)
    return {
        one["identifier"][0]["value"]: [each["reference"] for each in one["meta"].get("accounts", [])] for one in found
    }


@MODES
def test_an_update_leaves_the_accounts(tiny: Environment, mode: LoadMode) -> None:
    clinics = Clinics(tiny, mode)
    clinics.load()
    share(clinics, "1")
    share(clinics, "2")
    for key in ("1", "3"):
        clinics.rename_in_legacy(key)
    assert {disposition for disposition, _, _ in clinics.load().values()} == {"successful"}
    assert clinics.actions() == {"1": "updated", "2": "unchanged", "3": "updated", "4": "unchanged"}
    assert "legacy" in clinics.only("1")["name"]
    assert accounts(clinics) == {"1": [ACCOUNT["reference"]], "2": [ACCOUNT["reference"]], "3": [], "4": []}
    clinics.rename_in_legacy("2")  # set before, and adopted since: the version is known
    clinics.load()
    assert accounts(clinics)["2"] == [ACCOUNT["reference"]]


@MODES
def test_they_stay_when_a_change_is_written_over(tiny: Environment, mode: LoadMode) -> None:
    clinics = Clinics(tiny, mode)
    clinics.load()
    clinics.change("1", name="Changed in Medplum")
    share(clinics, "1")
    assert clinics.load(overwrite=True)["1"][0] == "successful"
    assert clinics.only("1")["name"] == "North" and accounts(clinics)["1"] == [ACCOUNT["reference"]]


def test_what_has_accounts_goes_apart_from_what_has_none() -> None:
    steps = [
        Step(
            ResolvedResource(("s", str(at)), "Patient", b"{}", ""),
            Action.UPDATE,
            "a",
            "1",
            {"accounts": [at]} if at % 2 else {},
        )
        for at in range(5)
    ]
    assert [[int(step.target.name[1]) for step in batch] for batch in batches(steps, 2)] == [[0, 2], [4], [1, 3]]


def test_accounts_that_others_set_are_no_change_to_the_verification(tiny: Environment) -> None:
    clinics = Clinics(tiny, LoadMode.LOOKUP)
    clinics.load()
    with tiny.manifest.begin() as connection:
        leases.release(connection, "run1")
    share(clinics, "1")
    found = {one.name: one for one in verify_subject(tiny, Subject(entities=("clinic",))).verdict.results}
    assert (found[VERSIONS].different, found[CONTENT].different, found[VERSIONS].compared) == (0, 0, 4)
    clinics.change("2", name="Changed in Medplum")
    found = {one.name: one for one in verify_subject(tiny, Subject(entities=("clinic",))).verdict.results}
    assert (found[VERSIONS].different, found[CONTENT].different) == (1, 1)
