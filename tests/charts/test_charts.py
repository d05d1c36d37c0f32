"""Charts: the right records side by side, the same sample again, patient data nowhere else, reviews that count."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from medferry.charts.gather import Chart, Item, gather
from medferry.charts.links import Links, hanging_on, patient_entity
from medferry.charts.pages import INDEX, MARK, FolderTaken
from medferry.charts.sample import Wanted, draw
from medferry.charts.shown import flat, shown
from medferry.charts.write import write_charts
from medferry.cli.main import app
from medferry.errors import MedferryError, VerificationFailed
from medferry.manifest.charts import charts_of
from medferry.manifest.runs import get_run
from medferry.runtime.environment import Environment
from medferry.verification.options import Sampling
from medferry.verification.run import verify_run
from medferry.verification.scope import scope_of_run
from medferry.workflows.decide import NotDecidable, review
from medferry.workflows.finish import finish_run
from tests.tiny_platform import variables
from tests.verification.conftest import RUN, migrated
from tests.workflows.test_migrate import migrate

PATIENT_OF = {
    "allergy": "allergies",
    "problem": "problems",
    "vitals": "vitals",
    "lab_result": "lab_results",
    "immunization": "immunizations",
}
"""Entities of the demo with their tables; each has a column `patient_id`."""


@dataclass
class World:
    environment: Environment
    links: Links

    def chart(self, key: str) -> Chart:
        with self.environment.medplum() as client:
            return gather(self.links, client, key, "given")

    def rows(self, sql: str) -> list[str]:
        with self.environment.source.begin() as connection:
            return [str(key) for key in connection.scalars(sa.text(sql))]


def links_of(environment: Environment) -> Links:
    return Links(scope_of_run(environment, RUN, Sampling()))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with migrated(tmp_path_factory.mktemp("charts"), patients=25) as environment:
        verify_run(environment, RUN)
        yield World(environment, links_of(environment))


@pytest.fixture
def tiny_done(tiny: Environment) -> Environment:
    migrate(tiny, RUN)
    return tiny


def draw_all(environment: Environment, wanted: Wanted) -> dict[str, str]:
    with environment.medplum() as client:
        return draw(links_of(environment), client, wanted)


def test_what_hangs_on_a_patient_follows_from_the_mappings(tiny: Environment) -> None:
    specs = tiny.migration.specs
    assert patient_entity(specs) == "patient"
    assert hanging_on(specs, "patient") == ["weight"]


@pytest.mark.slow
def test_a_chart_has_every_row_of_the_patient_and_none_of_another(world: World) -> None:
    [key] = list(draw_all(world.environment, Wanted(risk=1)))
    chart = world.chart(key)
    for entity, table in PATIENT_OF.items():
        there = set(
            world.rows(f"SELECT {entity}_id FROM {table} WHERE patient_id = {key}")
            if entity != "lab_result"
            else world.rows(f"SELECT result_id FROM {table} WHERE patient_id = {key}")
        )
        assert {item.key for item in chart.items if item.entity == entity} == there, entity
    assert not [item for item in chart.items if item.differs]
    titles = [title for title, _ in chart.sections]
    assert titles[0] == "Demographics"
    assert titles.index("Problems") < titles.index("Encounters") < titles.index("Coverage")
    compared = [line for item in chart.items for line in item.lines]
    assert len(compared) > 100
    birth = next(line for line in compared if line.name == "main birth_date")
    assert birth.legacy == birth.medplum


def of_patient(world: World, resource_type: str) -> tuple[str, dict[str, Any]]:
    """A patient with such a resource: (source key, the resource)."""
    system = world.environment.migration.naming.system("patient")
    with world.environment.medplum() as client:
        for body in client.search_all(resource_type, []):
            place = body["subject"]["reference"].removeprefix("Patient/")
            [patient] = client.by_id("Patient", [place]).values()
            keys = [one["value"] for one in patient["identifier"] if one["system"] == system]
            return keys[0], body
    raise AssertionError(resource_type)


Change = Callable[[dict[str, Any], str], dict[str, Any]]


def _other_patient(body: dict[str, Any], other: str) -> dict[str, Any]:
    return {**body, "subject": {"reference": f"Patient/{other}"}}


def _other_code(body: dict[str, Any], _: str) -> dict[str, Any]:
    return {**body, "code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"), [(_other_patient, "refers to another patient"), (_other_code, "code"), (None, "missing in")]
)
def test_a_chart_shows_what_was_planted(world: World, change: Change | None, told: str) -> None:
    key, body = of_patient(world, "Condition")
    with world.environment.medplum() as client:
        mine = body["subject"]["reference"].removeprefix("Patient/")
        other = next(one["id"] for one in client.search_all("Patient", []) if one["id"] != mine)
        place = f"Condition/{body['id']}"
        request: dict[str, Any] = {"request": {"method": "DELETE", "url": place}}
        if change:
            request = {"request": {"method": "PUT", "url": place}, "resource": change(body, other)}
        assert client.batch([request], 100)[0].status == 200
        value = body["identifier"][0]["value"]
        try:
            item = found(world.chart(key), value)
            assert item.differs
            said = [*item.problems, *(line.name for line in item.lines if line.status != "equal")]
            assert any(told in one for one in said), said
        finally:
            if change:
                back = {"request": {"method": "PUT", "url": place}, "resource": body}
                assert client.batch([back], 100)[0].status == 200


def found(chart: Chart, key: str) -> Item:
    [item] = [one for one in chart.items if (one.entity, one.key) == ("problem", key)]
    return item


def test_without_checks_medplum_names_the_rows(tiny_done: Environment) -> None:
    """No checks are declared: the chart still has the legacy rows, found by the patient's compartment."""
    world = World(tiny_done, links_of(tiny_done))
    chart = world.chart("1")
    weights = [item for item in chart.items if item.entity == "weight"]
    assert {item.key for item in weights} == {str(n) for n in range(0, 40, 4)}
    assert all(item.row["patient_id"] == "1" and item.resources for item in weights)
    assert not [item for item in chart.items if item.differs]


def test_what_was_made_in_medplum_is_shown_apart(tiny_done: Environment) -> None:
    world = World(tiny_done, links_of(tiny_done))
    with tiny_done.medplum() as client:
        system = tiny_done.migration.naming.system("patient")
        [one] = client.search_all("Patient", [("identifier", f"{system}|1")])
        new = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "by hand"},
            "subject": {"reference": f"Patient/{one['id']}"},
        }
        assert (
            client.batch([{"request": {"method": "POST", "url": "Observation"}, "resource": new}], 100)[0].status == 201
        )
    [made] = [item for item in world.chart("1").items if not item.entity]
    assert made.said == "made in Medplum, by no migration"


def test_the_same_seed_draws_the_same_and_another_does_not(tiny_done: Environment) -> None:
    one = draw_all(tiny_done, Wanted(random=2, seed=1))
    assert draw_all(tiny_done, Wanted(random=2, seed=1)) == one
    assert {tuple(draw_all(tiny_done, Wanted(random=2, seed=seed))) for seed in range(8)} != {tuple(one)}
    assert set(one) <= {"1", "2", "8"}  # those that are in Medplum
    assert draw_all(tiny_done, Wanted(keys=("3",))) == {"3": "given"}  # skipped, and asked for all the same
    with pytest.raises(MedferryError, match="has no patient 4711"):
        draw_all(tiny_done, Wanted(keys=("4711",)))


@pytest.mark.slow
def test_the_risks_are_those_that_they_say(world: World) -> None:
    chosen = draw_all(world.environment, Wanted(risk=8))
    assert len(chosen) == 8
    most = next(key for key, why in chosen.items() if why == "risk: most allergies")
    counts = "SELECT patient_id FROM allergies GROUP BY patient_id ORDER BY COUNT(*) DESC, patient_id"
    assert most in world.rows(counts)[:5]
    died = [key for key, why in chosen.items() if "died" in why]
    dead = set(world.rows("SELECT patient_id FROM patients WHERE deceased_on IS NOT NULL"))
    assert set(died) <= dead


def test_pages_are_marked_and_closed_to_others_and_leave_no_data_elsewhere(
    tiny_done: Environment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "charts" / "r"
    write_charts(tiny_done, RUN, Wanted(random=3), folder)
    (folder / "chart-0099.html").write_text(f'<meta name="generator" content="{MARK}">of an earlier drawing')
    (folder / "chart-0098.html").touch()  # its writer was killed
    (folder / "notes.txt").write_text("a reviewer's")
    write_charts(tiny_done, RUN, Wanted(keys=("1",), seed=5), folder)
    assert (folder / "notes.txt").read_text() == "a reviewer's"
    (folder / "notes.txt").unlink()
    assert {path.name for path in folder.iterdir()} == {INDEX, "chart-0001.html"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    for path in folder.iterdir():
        page = path.read_text()
        assert "PATIENT DATA" in page
        assert "src=" not in page and "<link" not in page and "<script" not in page
    assert "Ada" in (folder / "chart-0001.html").read_text()
    assert "Ada" not in caplog.text
    with tiny_done.manifest.begin() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM chart").all()
    assert {row.key for row in kept} == {"1", "2", "8"}
    assert "Ada" not in str(kept)


@pytest.mark.parametrize("name", [INDEX, "chart-0007.html", "notes.txt"])
def test_nothing_is_drawn_into_a_folder_of_somebody_elses(tiny_done: Environment, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "site"
    folder.mkdir(mode=0o755)
    (folder / name).write_text("<title>Charts of our own</title>")
    with pytest.raises(FolderTaken, match="no charts of Medferry's"):
        write_charts(tiny_done, RUN, Wanted(keys=("1",)), folder)
    assert [path.name for path in folder.iterdir()] == [name]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_while_a_reviewer_says_that_a_chart_differs_the_run_is_not_proven(
    tiny_done: Environment, tmp_path: Path
) -> None:
    verify_run(tiny_done, RUN)
    write_charts(tiny_done, RUN, Wanted(keys=("1",)), tmp_path / "charts")
    with pytest.raises(NotDecidable, match="a finding"):
        review(tiny_done, RUN, "1", "Dr. Osei", "differs", " ")
    with pytest.raises(MedferryError, match="No chart of that key"):
        review(tiny_done, RUN, "2", "Dr. Osei", "agrees", "")
    review(tiny_done, RUN, "1", "Dr. Osei", "differs", "an allergy is shown twice")
    assert status(tiny_done) == "failed"
    with pytest.raises(VerificationFailed, match="1 charts differ"):
        finish_run(tiny_done, RUN)
    review(tiny_done, RUN, "1", "Dr. Haug", "agrees", "")
    assert status(tiny_done) == "succeeded"
    finish_run(tiny_done, RUN)
    write_charts(tiny_done, RUN, Wanted(keys=("1",)), tmp_path / "charts")
    with tiny_done.manifest.begin() as connection:
        [kept] = charts_of(connection, RUN)
    assert (kept.outcome, kept.reviewer) == ("agrees", "Dr. Haug")


def status(environment: Environment) -> str:
    with environment.manifest.begin() as connection:
        return get_run(connection, RUN).status


def test_on_the_command_line(tiny_done: Environment, tmp_path: Path) -> None:
    run = CliRunner()
    there = {**variables(tiny_done.settings), "MEDFERRY_MIGRATION": str(tiny_done.migration.folder)}
    drawn = run.invoke(app, ["charts", RUN, "--patients", "2", "--risk", "1", "--folder", str(tmp_path)], env=there)
    assert drawn.exit_code == 0, drawn.output
    assert "Ada" not in drawn.output
    with tiny_done.manifest.begin() as connection:
        key = charts_of(connection, RUN)[0].key
    asked = ["charts", "record", RUN, key, "--reviewer", "Dr. Osei", "--outcome"]
    assert run.invoke(app, [*asked, "perhaps"], env=there).exit_code == 2
    recorded = run.invoke(app, [*asked, "agrees"], env=there)
    assert recorded.exit_code == 0, recorded.output
    assert "1 agrees" in recorded.output


def test_values_as_a_clinician_reads_them() -> None:
    quantity = {"value": 72.5, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
    assert shown(quantity) == "72.5 kg"
    assert shown({**quantity, "comparator": "<"}) == "<72.5 kg"
    assert shown({"system": "urn:x", "code": "a", "display": "A thing"}) == "A thing (urn:x a)"
    assert shown({"system": "http://snomed.info/sct", "code": "1"}) == "1 (sct 1)"
    assert (shown(0), shown(False), shown(None)) == ("0", "false", "")
    body = {
        "resourceType": "Patient",
        "id": "1",
        "meta": {},
        "name": [{"given": ["A", "B"]}],
        "multipleBirthInteger": 0,
    }
    assert flat(body) == [("name.given[0]", "A"), ("name.given[1]", "B"), ("multipleBirthInteger", "0")]
