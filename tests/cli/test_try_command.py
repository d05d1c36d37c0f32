"""`medferry try` and `medferry test`, as a mapping's author uses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from medferry.definition.migration import load_migration
from medferry.runtime.environment import Environment
from tests.tiny_platform import MIGRATION


def test_try_shows_the_way_back_of_a_row_and_of_an_edited_resource(medferry, tmp_path: Path) -> None:
    assert "The way back changes nothing in the row." in medferry("try", "patient", "--key", "1").output
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps({"resourceType": "Patient", "identifier": [{"system": "elsewhere", "value": "1"}]}))
    assert (
        "none of the row's resources"
        in medferry("try", "patient", "--key", "1", "--resource", str(edited), code=1).stderr
    )
    system = load_migration(MIGRATION).systems["patient"][0]
    identifier = [{"system": system, "value": "1"}]
    patient = {"resourceType": "Patient", "identifier": identifier, "name": [{"family": "Abe"}], "gender": "other"}
    edited.write_text(json.dumps(patient))
    shown = medferry("try", "patient", "--key", "1", "--resource", str(edited)).output
    assert "Abe" in shown
    assert "cannot express: main gender no-local-code sex" in shown
    assert "no inverse" in medferry("try", "clinic", "--key", "1", "--resource", str(edited), code=1).stderr


def test_try_shows_the_row_that_a_birth_would_get(medferry, tmp_path: Path) -> None:
    created = tmp_path / "created.json"
    asked = ("try", "appointment", "-m", "clinics", "--resource", str(created))

    def write(**members: object) -> None:
        patient = {"reference": "Patient?identifier=https://clinics.example/legacy/patient|17"}
        times = {"start": "2027-01-04T09:00:00-05:00", "end": "2027-01-04T09:20:00-05:00"}
        participant = [{"actor": patient, "status": "accepted"}]
        said = {"resourceType": "Appointment", "status": "booked", **times, "participant": participant, **members}
        created.write_text(json.dumps(said))

    write(description="cough")
    shown = " ".join(medferry(*asked).output.replace("│", " ").split())
    for line in (
        "appointment_id made by the database",
        "clinic_id the business unit",
        "status_code B",
        "starts_at once the row is there",
        "reason_text cough",
        "patient_id 17",
        "updated_at the time of the insertion",
    ):
        assert line in shown
    write(status="waitlist")
    refused = medferry(*asked).output
    assert "No row would be inserted." in refused and "status no-local-code" in refused
    write(identifier=[{"system": "https://clinics.example/legacy/appointment", "value": "7"}])
    assert "it is no birth" in medferry(*asked, code=1).stderr
    created.write_text(json.dumps({"resourceType": "Basic"}))
    assert "A Basic fits 0" in medferry(*asked, code=1).stderr
    assert "takes no births" in medferry("try", "patient", "--resource", str(created), code=1).stderr


def test_try_shows_the_row_its_resource_and_its_problem(medferry) -> None:
    shown = medferry("try", "patient", "--key", "8").output
    assert "Hal" in shown
    assert '"resourceType": "Patient"' in shown
    assert "sentinel-date" in shown
    assert "impossible-date born" in medferry("try", "patient", "--key", "4", code=2).output
    assert "no row with the key 77" in medferry("try", "patient", "--key", "77", code=1).stderr
    assert "There is no entity bed" in medferry("try", "bed", "--key", "1", code=1).stderr


def test_try_takes_the_first_row_or_the_first_of_a_condition(medferry) -> None:
    assert "Ada" in medferry("try", "patient").output
    assert "Hal" in medferry("try", "patient", "--where", "unit = 'shared' AND born < '1950:01'").output
    assert "has no row where sex = 'Q'" in medferry("try", "patient", "--where", "sex = 'Q'", code=1).stderr
    told = medferry("try", "patient", "--where", "sexx = 'F'", code=1).stderr
    assert "no such column: sexx" in told and "refused the condition" in told and "Correct --where" in told
    assert "neither" in medferry("try", "patient", "--key", "1", "--where", "1 = 1", code=1).stderr


def test_try_as_json(medferry) -> None:
    told = json.loads(medferry("try", "patient", "--key", "8", "--json").stdout)
    assert (told["entity"], told["key"], told["unit"], told["outcome"]) == ("patient", "8", "shared", "ready to load")
    assert told["findings"] == [{"reason": "sentinel-date", "field": "born"}]
    assert told["row"]["family"] == "Hal"
    assert told["resources"][0]["resourceType"] == "Patient"
    told = json.loads(medferry("try", "patient", "--key", "4", "--json", code=2).stdout)
    assert (told["outcome"], told["reason"], told["field"]) == ("quarantined", "impossible-date", "born")


def test_try_tells_what_a_run_would_stop_at(medferry, tiny: Environment) -> None:
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET id = 1, unit = 'harbour' WHERE id = 2")
    shown = medferry("try", "patient", "--key", "1", "--json").stdout
    assert "2 rows have this key" in shown and "id is no key" in shown
    shown = medferry("try", "patient", "--where", "unit = 'harbour'").output
    assert "the unit harbour, which the plan does not name" in shown
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET unit = NULL WHERE unit = 'harbour'")
    shown = medferry("try", "patient", "--where", "unit IS NULL", "--json").stdout
    assert json.loads(shown)["unit"] is None and "belongs to no unit (NULL)" in shown


_EXAMPLES = """
defaults: {id: 1, clinic_id: 1, deleted_at: null}
examples:
  - name: a woman
    row: {family: Ada, born: 1970-02-03, sex: F}
    becomes:
      main: {name: [{family: Ada}], birthDate: 1970-02-03, gender: female, telecom: null}
    findings: []
  - name: no such day
    row: {family: Dot, born: 1985-02-30, sex: F}
    quarantined: impossible-date born
  - name: deleted
    row: {deleted_at: 2024-01-01 00:00:00}
    skipped: soft-deleted
"""


def test_examples_of_a_mapping_are_tried_and_a_wrong_one_is_shown(medferry, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(MIGRATION, tmp_path / "copy"))
    assert "There is no examples/<entity>.yaml" in medferry("test", "-m", str(copy), code=1).stderr
    before = load_migration(copy).fingerprint
    (copy / "examples").mkdir()
    file = copy / "examples/patient.yaml"
    file.write_text(_EXAMPLES)
    shown = medferry("test", "-m", str(copy)).output
    assert "3 of 3 examples of patient" in shown and "without examples: clinic" in shown
    assert load_migration(copy).fingerprint == before
    file.write_text(_EXAMPLES.replace("gender: female", "gender: male").replace("impossible-date", "unmapped-code"))
    shown = medferry("test", "patient", "-m", str(copy), code=1).output
    assert '-    "gender": "male",' in shown and '+    "gender": "female",' in shown
    assert '-  "outcome": "quarantined unmapped-code born"' in shown
    assert '+  "outcome": "quarantined impossible-date born"' in shown
    assert "1 of 3 examples" in shown and "a woman" in shown and "deleted" not in shown
    file.write_text(_EXAMPLES.replace("telecom: null", "telecom: []").replace("skipped: soft", "skiped: soft"))
    told = "".join(medferry("test", "-m", str(copy), code=1).stderr.split())
    assert "patient.yaml:14:" in told and "skiped" in told and "didyoumeanskipped" in told


def test_an_example_that_the_mapping_cannot_read_is_told(medferry, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(MIGRATION, tmp_path / "copy"))
    (copy / "examples").mkdir()
    file = copy / "examples/patient.yaml"
    file.write_text(_EXAMPLES.replace("deleted_at: null", "").replace("clinic_id: 1, ", "clinic_id: 1"))
    assert "NoSuchColumn: the row has no column deleted_at" in medferry("test", "-m", str(copy), code=1).output
    file.write_text(_EXAMPLES.replace("{id: 1, ", "{"))
    told = " ".join(medferry("test", "-m", str(copy), code=1).stderr.split())  # a long path breaks the lines elsewhere
    assert "has no column id, which is its key" in told
    file.rename(copy / "examples/patent.yaml")
    assert "examples of no entity" in medferry("test", "-m", str(copy), code=1).stderr


def test_try_shows_exactly_the_row_asked_for_or_says_what_is_wrong(medferry, tmp_path: Path) -> None:
    for almost in ("8.0", "08", " 8", "8 "):
        assert f"no row with the key {almost}." in medferry("try", "patient", "--key", almost, code=1).stderr
    copy = tmp_path / "refused"
    shutil.copytree(MIGRATION, copy)
    file = copy / "entities" / "patient.sql"
    file.write_text(file.read_text(encoding="utf-8").replace("FROM patient", "FROM patients_of_old"), encoding="utf-8")
    refused = medferry("try", "patient", "--key", "8", "-m", str(copy), code=1).stderr
    assert "SourceError: The legacy database refused a query" in refused
    assert "no row" not in refused
