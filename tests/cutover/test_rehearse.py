"""A rehearsal measures what a freeze is spent with, against another Medplum, and can move nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from embedded_medplum.server import EmbeddedMedplum
from medferry.cli import cutover as command
from medferry.cli.main import app
from medferry.cutover import rehearsal as acts
from medferry.cutover.acts import FORTH, Act, Place
from medferry.cutover.gates import Gates
from medferry.cutover.machine import Outcome
from medferry.errors import SettingsError, VerificationFailed
from medferry.manifest import cutovers
from medferry.manifest.rehearsals import rehearsals_of
from medferry.runtime.environment import Environment
from medferry.runtime.rehearsal import NeverInRehearsal, rehearsal_of
from medferry.source.gate.gate import GATE
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import synced_wave
from medferry.workflows.cutover import Choice, Otherwise, cut_over
from medferry.workflows.readiness_facts import Facts
from medferry.workflows.rehearse import rehearse
from tests.cutover.conftest import Clinic
from tests.cutover.test_switch import choice, places
from tests.sync.conftest import FREE, families, load

PREFIX = "MEDFERRY_REHEARSAL_"


@pytest.fixture
def second() -> Iterator[EmbeddedMedplum]:
    """Another Medplum."""
    with EmbeddedMedplum(quota=1_000_000_000) as server:
        yield server


@pytest.fixture
def variables(second: EmbeddedMedplum, tmp_path: Path) -> dict[str, str]:
    return {
        f"{PREFIX}MANIFEST_URL": f"sqlite:///{tmp_path}/rehearsal.db",
        f"{PREFIX}STAGING_URL": f"{tmp_path}/rehearsal",
        f"{PREFIX}MEDPLUM_BASE_URL": second.base_url,
        f"{PREFIX}MEDPLUM_CLIENT_ID": second.client_id,
        f"{PREFIX}MEDPLUM_CLIENT_SECRET": second.client_secret,
    }


@pytest.fixture
def stage(clinic: Clinic, variables: dict[str, str], tmp_path: Path) -> Environment:
    """The surroundings of the rehearsal, loaded and swept; the real ones have a routing file, too."""
    clinic.environment = Environment(
        clinic.environment.migration, replace(clinic.environment.settings, routing_file=f"{tmp_path}/routing.json")
    )
    made = rehearsal_of(clinic.environment, variables)
    load(made, None)
    sweep_wave(synced_wave(made, "pilot"), FREE)
    return made


def _write(clinic: Clinic, family: str) -> None:
    with clinic.environment.source.begin() as connection:
        connection.exec_driver_sql(f"UPDATE patient SET family = '{family}' WHERE id = 1")


def _recorded(clinic: Clinic) -> Any:
    with clinic.environment.manifest.begin() as connection:
        return next(iter(rehearsals_of(connection, "tiny", "pilot")), None)


def test_a_rehearsal_is_measured_and_recorded_and_leaves_all_as_it_was(clinic: Clinic, stage: Environment) -> None:
    before, real = (clinic.entries, places(clinic)), families(clinic.environment)
    _write(clinic, "Adair")
    told: list[tuple[Act, str]] = []

    def tell(act: Act, text: str) -> None:
        told.append((act, text))
        if act is Act.FINAL_CUT and len([one for one, _ in told if one is act]) == 1:
            _write(clinic, "Adler")  # its users go on writing: this is in no cut while what changed is verified

    measured = rehearse(clinic.environment, stage, "pilot", Choice("Ada", freeze=60.0, tell=tell))
    assert list(dict.fromkeys(act for act, _ in told)) == list(FORTH)
    timed = {Act.FENCE, Act.FINAL_CUT, Act.VERIFY, Act.REVERSE_START}
    assert {*measured.parts} == {*map(str, timed), Act.CLOSE_LEGACY, Act.SHUT_LEGACY}
    assert measured.freeze == pytest.approx(sum(measured.parts.values()), abs=0.01) and measured.checked[0] > 0
    assert (clinic.entries, places(clinic)) == before and families(clinic.environment) == real
    assert families(stage)["1"] == "Adair"
    last = _recorded(clinic)
    assert (last.measured, last.person) == (measured, "Ada")
    assert last.fingerprint == clinic.environment.migration.fingerprint
    assert Facts(clinic.environment, "pilot").rehearsal == last
    with clinic.environment.manifest.begin() as connection:
        assert cutovers.running_attempts(connection, "tiny") == [] and cutovers.stages_of(connection, "tiny") == {}
    assert not Path(clinic.environment.settings.routing_file).exists()


def _closes(clinic: Clinic) -> None:
    clinic.gate.close(clinic.environment.capture, "north", 0, 600, 5)


def _edits(clinic: Clinic) -> None:
    clinic.medplum().close("north", 7)


def _routes(clinic: Clinic) -> None:
    Path(clinic.environment.settings.routing_file).write_text("medplum")


@pytest.mark.parametrize("fault", [_closes, _edits, _routes])
def test_an_act_that_moves_anything_is_noticed(
    clinic: Clinic, stage: Environment, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    def faulty(_: Any) -> str:
        fault(clinic)
        return "done"

    monkeypatch.setitem(acts._REHEARSED, Act.FENCE, faulty)  # type: ignore[arg-type]
    monkeypatch.setitem(acts._REHEARSED, Act.FINAL_CUT, lambda _: "done")  # type: ignore[arg-type]
    with pytest.raises(NeverInRehearsal, match="changed during the rehearsal"):
        rehearse(clinic.environment, stage, "pilot", choice())
    assert _recorded(clinic) is None


def test_its_surroundings_know_no_gate_no_writer_and_no_routing(clinic: Clinic, stage: Environment) -> None:
    assert stage.migration.gate is None and not stage.settings.probes
    assert not stage.settings.routing_file and not stage.settings.legacy_writer_url
    with pytest.raises(NeverInRehearsal), stage.capture.begin() as connection:
        connection.execute(sa.text(f"UPDATE {GATE} SET closed_until = NULL, closing = 1"))
    assert places(clinic) == {Place.BOTH}


def test_what_is_not_equal_is_no_rehearsal(clinic: Clinic, stage: Environment, second: EmbeddedMedplum) -> None:
    with stage.medplum() as client:
        system = stage.migration.naming.system("patient")
        [ada] = client.search_all("Patient", [("identifier", f"{system}|1")])
        entry = {"resource": {**ada, "gender": "other"}, "request": {"method": "PUT", "url": f"Patient/{ada['id']}"}}
        assert client.batch([entry], 100)[0].status == 200
    with pytest.raises(VerificationFailed, match="is not green"):
        rehearse(clinic.environment, stage, "pilot", choice())
    assert _recorded(clinic) is None


def test_the_real_systems_are_no_place_to_rehearse(
    clinic: Clinic, stage: Environment, variables: dict[str, str]
) -> None:
    settings = clinic.environment.settings
    real = {f"{PREFIX}{name.upper()}": getattr(settings, name) for name in ("medplum_base_url", "medplum_client_id")}
    real[f"{PREFIX}MEDPLUM_CLIENT_SECRET"] = settings.medplum_client_secret
    with pytest.raises(NeverInRehearsal, match="has the Medplum project of the real"):
        rehearse(clinic.environment, rehearsal_of(clinic.environment, variables | real), "pilot", choice())
    same = {f"{PREFIX}MANIFEST_URL": settings.manifest_url}
    with pytest.raises(NeverInRehearsal, match="has the manifest of the real"):
        rehearse(clinic.environment, rehearsal_of(clinic.environment, variables | same), "pilot", choice())
    with pytest.raises(SettingsError, match=f"{PREFIX}STAGING_URL is not set"):
        rehearsal_of(clinic.environment, {name: value for name, value in variables.items() if "STAGING" not in name})


def test_a_wave_that_has_moved_is_not_rehearsed_and_a_rehearsed_one_can_move(
    clinic: Clinic, stage: Environment, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "environment_of", lambda _: clinic.environment)
    found = CliRunner().invoke(
        app, ["cutover", "pilot", "--rehearse", "--by", "Ada"], env={**variables, "COLUMNS": "300"}
    )
    assert found.exit_code == 0 and "Rehearsed, nothing flipped: a freeze would take" in found.output
    assert _recorded(clinic).person == "Ada"
    assert CliRunner().invoke(app, ["cutover", "pilot", "--rehearse", "--dry-run"], env=variables).exit_code == 1
    assert cut_over(clinic.environment, "pilot", choice()) is Outcome.FLIPPED
    assert set(Gates(clinic.environment, clinic.users.admin).places(["north"]).values()) == {Place.MEDPLUM}
    with pytest.raises(Otherwise, match="has moved"):
        rehearse(clinic.environment, stage, "pilot", choice())
