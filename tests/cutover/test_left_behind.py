"""A rollback that cannot prove a write: a named person may leave it behind as it is, and it stays on the list."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from medferry.cli.cutover import _show, rollback_app
from medferry.cutover.acts import Place
from medferry.cutover.machine import NotReturned, Outcome
from medferry.cutover.proof import Proof
from medferry.errors import OptionError
from medferry.manifest.decisions import digest_of
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install as install_journal
from medferry.sync.wave import SyncedWave
from medferry.workflows.cutover import cut_over, roll_back
from medferry.workflows.cutover_status import WaveCutover, cutover_status
from medferry.workflows.leave_behind import leave_behind
from tests.cutover.conftest import Clinic
from tests.cutover.test_switch import choice, family, in_medplum, legacy_writes, places
from tests.sync.taking_births import taking_births

WHY = "No legacy code; entered in the paper file."


def pilot(clinic: Clinic) -> WaveCutover:
    return next(one for one in cutover_status(clinic.environment) if one.wave == "pilot")


def becomes(clinic: Clinic, key: int, gender: str) -> str:
    """A user says what no legacy code expresses; where."""
    system = clinic.environment.migration.naming.system("patient")
    [found] = clinic.user.search_all("Patient", [("identifier", f"{system}|{key}")])
    place = f"Patient/{found['id']}"
    entry = {"resource": {**found, "gender": gender}, "request": {"method": "PUT", "url": place}}
    assert clinic.user.batch([entry], 100)[0].status == 200
    return place


def test_what_a_person_leaves_behind_is_left_as_it_was_and_no_other(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = clinic.environment
    cut_over(environment, "pilot", choice())
    assert clinic.rename(2, "Bell") == 200
    place = becomes(clinic, 1, "other")
    with pytest.raises(OptionError, match="was not kept back by"):
        leave_behind(environment, "pilot", {place: WHY}, "A. Owner")
    with pytest.raises(NotReturned, match=r"rollback --accept"):
        roll_back(environment, "pilot", choice())
    assert pilot(clinic).unproven == [place] and pilot(clinic).left_behind == {}
    for what, person, why in ((place, "", WHY), (place, "A. Owner", "short"), ("Patient/nobody", "A. Owner", WHY)):
        with pytest.raises(OptionError):
            leave_behind(environment, "pilot", {what: why}, person)
    leave_behind(environment, "pilot", {place: WHY}, "A. Owner")

    becomes(clinic, 1, "unknown")  # nobody has seen this one
    with pytest.raises(NotReturned, match=f"1 write.* not in the legacy database: {place}"):
        roll_back(environment, "pilot", choice())
    other = becomes(clinic, 2, "other")
    leave_behind(environment, "pilot", {place: WHY}, "A. Owner")
    with pytest.raises(NotReturned, match=f"1 write.* not in the legacy database: {other}"):
        roll_back(environment, "pilot", choice())
    assert places(clinic) == {Place.MEDPLUM}

    leave_behind(environment, "pilot", {place: WHY, other: WHY}, "A. Owner")
    assert roll_back(environment, "pilot", choice()) is Outcome.RETURNED
    assert places(clinic) == {Place.LEGACY} and legacy_writes(clinic, 2, "Clark")
    assert family(clinic, 2) == "Clark" and in_medplum(clinic, 2) == "Bell"
    found = pilot(clinic)
    assert (found.unproven, found.left_behind) == ([], dict.fromkeys((other, place), f"A. Owner: {WHY}"))
    _show(found)
    assert capsys.readouterr().out.count("Left in Medplum, to do by hand") == 2


def test_a_dry_run_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medferry.cli.cutover.environment_of", lambda _: None)
    result = CliRunner().invoke(rollback_app, ["pilot", "--dry-run", "--accept", "Patient/1=It is gone."])
    assert result.exit_code == 1 and "decides nothing" in result.output


def test_a_state_is_what_is_known_in_any_order() -> None:
    one, two = Proof(), Proof()
    for proof, order in ((one, (1, -1)), (two, (-1, 1))):
        for known in (["edit", "7"], ["held", "gender"])[:: order[0]]:
            proof.note("Patient/1", known, [("patient", "1")])
    assert one.states == two.states == {"Patient/1": digest_of("edit|7", "held|gender")}
    one.keys = {"patient": {"1", "2"}, "weight": {"1"}}
    assert one.keys_without(["Patient/1"]) == {"patient": {"2"}, "weight": {"1"}}


@pytest.mark.parametrize("of", ["Group", ""])
def test_what_was_created_for_several_clinics_or_for_none_keeps_a_rollback_back(clinic: Clinic, of: str) -> None:
    """A shared unit moves with nobody, and a patient without a clinic may be anybody's: going back loses both."""
    migration = taking_births(clinic.environment.migration)
    environment = Environment(migration, clinic.environment.settings)
    install_journal(environment.capture, SyncedWave(environment, "pilot").journal)
    cut_over(environment, "pilot", choice())
    admin, new = clinic.users.admin, {"resourceType": "Patient", "name": [{"family": "Ito"}]}
    if of:
        [group] = admin.search_all("Organization", [("name", of)])
        new["managingOrganization"] = {"reference": f"Organization/{group['id']}"}
    [made] = admin.batch([{"resource": new, "request": {"method": "POST", "url": "Patient"}}], 100)
    with pytest.raises(NotReturned, match=f"1 write.* not in the legacy database: Patient/{made.id}"):
        roll_back(environment, "pilot", choice())
    [found] = [one for one in cutover_status(environment) if one.wave == "pilot"]
    assert found.unsafe[0].startswith("1 write(s) of users are not in the legacy database")
