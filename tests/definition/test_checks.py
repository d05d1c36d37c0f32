"""Checks are part of the definition: a fault in them stops before any write, and the fingerprint covers them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError
from medferry.runtime.environment import Environment
from tests.tiny_platform import MIGRATION, variables

CLINICS = load_migration("clinics").folder


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("compare: exact", "compare: roughly", "compare"),
        ("path: status,", "path: 'status.where(',", "no FHIRPath"),
        ("name: status,", "name: status, colour: red,", "colour: there is no such setting"),
        ("entity: encounter}", "entity: visit}", "unknown entity or slot visit/main"),
        ("table: vital_unit}", "table: vital_units}", "unknown code table vital_units"),
        ("days_after_death: 0", "days_after_death: [0", "not valid YAML"),
        ("unit: v.weight_unit, ", "", "needs unit"),
        ("path: valueQuantity,", "path: value,", "in JSON value of Observation is called by its type: value"),
        ("path: valueQuantity,", "path: value.ofType(Quantity),", "is called by its type"),
        ("path: valueQuantity,", "path: valueQuantity | value,", "is called by its type"),
    ],
)
def test_a_fault_in_the_checks_names_file_and_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    folder = Path(shutil.copytree(CLINICS, tmp_path / "clinics"))
    path = folder / "checks" / "vitals.yaml"
    text = path.read_text()
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DefinitionError, match=problem) as caught:
        load_migration(folder)
    # YAML notices an open bracket where the next line begins.
    assert (caught.value.path, caught.value.line) == (path, line_of(text, old) + ("YAML" in problem))


LIST = "{name: reactions, from: codes c, key: c.id, sql: c.code, path: interpretation, compare: code, table: sex}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("compare: code, table: none", "unknown code table none"),
        ("compare: code", "needs table"),
        ("path: interpretation.coding, compare: code, table: sex", "leave .coding out"),
        ("compare: exact, zone: UTC", "zone: there is no such setting here"),
    ],
)
def test_a_fault_in_a_list_of_codes_is_told(tmp_path: Path, change: str, problem: str) -> None:
    folder = Path(shutil.copytree(CLINICS, tmp_path / "clinics"))
    path = folder / "checks" / "lab_result.yaml"
    declared = yaml.safe_load(path.read_text())
    declared["resources"]["main"]["many"] = [yaml.safe_load(LIST)]
    path.write_text(yaml.safe_dump(declared))
    load_migration(folder)
    told = yaml.safe_load(LIST)
    del told["compare"], told["table"]
    declared["resources"]["main"]["many"] = [told | yaml.safe_load(f"{{{change}}}")]
    path.write_text(yaml.safe_dump(declared))
    with pytest.raises(DefinitionError, match=problem):
        load_migration(folder)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [("  spo2:", "  spo3:", "not those of the mapping"), ("name: taken", "name: staff", "stands twice")],
)
def test_a_fault_of_a_whole_file_names_the_file(tmp_path: Path, old: str, new: str, problem: str) -> None:
    folder = Path(shutil.copytree(CLINICS, tmp_path / "clinics"))
    path = folder / "checks" / "vitals.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DefinitionError, match=problem) as caught:
        load_migration(folder)
    assert caught.value.path == path
    assert caught.value.line


@pytest.mark.parametrize(("name", "problem"), [("bed.yaml", "checks no entity"), ("patient.yml", "not be read")])
def test_a_file_that_checks_nothing_is_a_fault(tmp_path: Path, name: str, problem: str) -> None:
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "tiny"))
    (folder / "checks").mkdir(exist_ok=True)
    (folder / "checks" / name).write_text("from: patient\n")
    with pytest.raises(DefinitionError, match=problem):
        load_migration(folder)


@pytest.mark.parametrize("command", [["plan", "check"], ["run"], ["run", "--dry-run"]], ids=" ".join)
def test_a_faulty_check_stops_before_the_first_write(
    tiny: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "definition"))
    (folder / "checks").mkdir(exist_ok=True)
    check = {"name": "born", "sql": "born", "path": "birthDate.where(", "compare": "date"}
    checks = {"from": "patient", "key": "id", "resources": {"main": {"checks": [check]}}}
    (folder / "checks" / "patient.yaml").write_text(yaml.safe_dump(checks))
    for name, value in variables(tiny.settings).items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, [*command, "--migration", str(folder)])
    assert result.exit_code == 1
    assert "patient.yaml:8" in result.stderr.replace("\n", "")
    assert not list(tmp_path.glob("manifest.db*"))
    with tiny.medplum() as client:
        assert client.count("Patient") == 0


def test_the_fingerprint_covers_every_file_that_can_change_a_result(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "tiny"))
    before = load_migration(folder).fingerprint
    for ignored in ("__pycache__/a.pyc", "mappings/__pycache__/b.pyc", ".DS_Store", ".git/HEAD", "mappings/.a.py.swp"):
        (folder / ignored).parent.mkdir(exist_ok=True)
        (folder / ignored).write_text("x")
        assert load_migration(folder).fingerprint == before, ignored
    seen = {before}
    for name in ("mappings/drugs.json", "terminology/notes.txt", "template.xml", "extra/units"):
        for content in ("1", "2"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)
            seen.add(load_migration(folder).fingerprint)
    assert len(seen) == 9
