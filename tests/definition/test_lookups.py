"""Code tables that a mapping looks up, lines that no row reaches, and all faults of a definition at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medferry.definition.doubts import doubts_of
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError
from medferry.fhir.elements import fault_in
from medferry.source.database import connect_engine, snapshot
from medferry.verification.written import try_checks
from tests import tiny_platform
from tests.tiny_platform import MIGRATION


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__")))


def replace(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_a_table_that_there_is_not_is_told_by_the_line_that_looks_it_up(folder: Path) -> None:
    replace(folder, "mappings/patient.py", 'required_code("sex"', 'required_code("sexes"')
    with pytest.raises(DefinitionError, match=r"patient\.py:13: there is no code table sexes.*terminology/sexes\.csv"):
        load_migration(folder)


def test_a_line_that_is_no_value_and_a_table_without_lines_are_told(folder: Path) -> None:
    replace(folder, "plan.yaml", "  sentinel_dates", "  null_tokens: [M]\n  sentinel_dates")
    header = (folder / "terminology/sex.csv").read_text().splitlines()[0]
    (folder / "terminology/colour.csv").write_text(f"{header}\n")
    told = doubts_of(load_migration(folder))
    assert any("code table sex has the code 'M'" in one and "column_null_tokens" in one for one in told)
    assert any("code table colour has no line" in one for one in told)


def test_a_draft_is_told_and_a_status_that_is_none_refused(folder: Path) -> None:
    assert any("in draft, approved by nobody: clinic, patient" in told for told in doubts_of(load_migration(folder)))
    replace(folder, "mappings/patient.py", 'owner="test",', 'owner="test", status="aproved",')
    with pytest.raises(DefinitionError, match=r"patient\.py:6: .*'aproved' is unknown; there are draft and approved"):
        load_migration(folder)


def test_a_fault_is_told_by_the_line_that_somebody_wrote(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    replace(folder, "mappings/patient.py", 'owner="test",', 'owner="test", status="aproved",')
    with pytest.raises(DefinitionError, match=r"^tiny/mappings/patient\.py:6: "):
        load_migration("tiny")
    (folder / "mappings/_words.py").write_text("ONE = 1\nTWO = ONE / 0\n")
    replace(folder, "mappings/patient.py", "import Iterator\n", "import Iterator\nfrom ._words import ONE as ONE\n")
    with pytest.raises(DefinitionError, match=r"^tiny/mappings/_words\.py:2: .*ZeroDivisionError"):
        load_migration("tiny")
    (folder / "mappings/_words.py").write_text("ONE = 1\n\nTWO = = 2\n")
    with pytest.raises(DefinitionError, match=r"^tiny/mappings/_words\.py:3: this is not valid Python"):
        load_migration("tiny")


def test_an_entity_without_checks_is_told(folder: Path) -> None:
    (folder / "checks/weight.yaml").unlink()
    assert any("no checks" in told and told.endswith("weight") for told in doubts_of(load_migration(folder)))


def test_the_faults_of_all_files_are_told_at_once(folder: Path) -> None:
    replace(folder, "plan.yaml", "strategy:", "stratgy:")
    replace(folder, "entities/patient.sql", "-- key:", "-- ky:")
    (folder / "entities/staff.sql").write_text("-- key: id\n-- unit: unit\nhello")
    with pytest.raises(DefinitionError) as told:
        load_migration(folder)
    lines = str(told.value).splitlines()
    assert lines[0].startswith(f"{folder}/plan.yaml:1: strategy: is missing")
    assert any("patient.sql:1: unknown setting 'ky'" in line for line in lines)
    assert any("staff.sql:3: there is no SELECT" in line for line in lines)
    assert "Correct these" in lines[-1]


def test_the_faults_of_all_mappings_are_told_at_once(folder: Path) -> None:
    (folder / "mappings/staff.py").unlink()
    replace(folder, "mappings/patient.py", "references=", "refs=")
    with pytest.raises(DefinitionError) as told:
        load_migration(folder)
    assert "patient.py:6: importing it raises TypeError" in str(told.value)
    assert "staff.py: the entity staff has no mapping" in str(told.value)


def test_a_path_that_fhir_does_not_have_is_told_by_its_line(folder: Path) -> None:
    replace(folder, "checks/patient.yaml", "path: name.family", "path: name.familly")
    with pytest.raises(DefinitionError, match=r"patient\.yaml:8: FHIR has no element familly.*did you mean family"):
        load_migration(folder)


def test_a_code_is_not_compared_with_a_whole_concept(folder: Path) -> None:
    """It would differ in every record, at the end of the first run."""
    kg = "{name: kg, sql: w.kg, path: valueQuantity.value, compare: number}"
    replace(folder, "checks/weight.yaml", kg, "{name: c, sql: w.kg, path: code, compare: code, table: sex}")
    with pytest.raises(DefinitionError, match=r"weight\.yaml:\d+: the check c compares .* add \.coding"):
        load_migration(folder)
    replace(folder, "checks/weight.yaml", "path: code,", "path: code.coding,")
    load_migration(folder)


@pytest.mark.parametrize(
    ("path", "kind", "fault"),
    [
        ("name.where(use = 'official').given[0]", "Patient", None),
        ("Patient.name.given.first()", "Patient", None),
        ("deceased", "Patient", "in JSON deceased of Patient is called by its type: deceasedBoolean, deceasedDateTime"),
        ("class.code", "Encounter", None),
        ("code.coding.where(system.exists() and code = 'a.b(c)').code", "Observation", None),
        ("name.given | name.family", "Patient", None),
        ("valueQuantity.vlue", "Observation", "FHIR has no element vlue in Observation.valueQuantity"),
        ("gander", "Patient", "FHIR has no element gander in Patient; did you mean gender?"),
    ],
)
def test_paths_are_judged_by_fhirs_elements(path: str, kind: str, fault: str | None) -> None:
    found = fault_in(path, kind)
    assert found is None if fault is None else (found or "").startswith(fault)


def test_every_sql_of_the_checks_is_tried(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/legacy.db"
    tiny_platform.fill(url)
    replace(folder, "checks/patient.yaml", "sql: p.family", "sql: p.famly")
    replace(folder, "checks/patient.yaml", "sql: p.sex", "sql: GETDATES(p.sex)")
    checks = load_migration(folder).checks.entities
    with snapshot(connect_engine(url)) as connection:
        for name in ("clinic", "staff", "weight"):
            try_checks(connection, folder / "checks" / f"{name}.yaml", checks[name])
        with pytest.raises(DefinitionError) as told:
            try_checks(connection, folder / "checks" / "patient.yaml", checks["patient"])
    assert "patient.yaml:8: the check family: " in str(told.value)
    assert "no such column: p.famly" in str(told.value)
    assert "patient.yaml:10: the check sex: " in str(told.value)


LIST = """    many:
      - {name: parts, path: name, compare: text, from: weight w, key: w.patient_id, sql: w.kg, order: w.kgg}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("when: p.deleted_at", "when: p.deleted", "patient.yaml:6: the condition of main: .*p.deleted"),
        (
            "sql: p.family",
            "sql: 'p.family, p.sex'",
            "patient.yaml:8: the check family: its SQL gives 2 values",
        ),
        ("key: p.id", "key: 'p.id, p.sex'", "the checks' own tables and key: its SQL gives 3 values"),
        ("    checks:", f"{LIST}    checks:", "the check parts: .*no such column: w.kgg"),
    ],
)
def test_a_condition_an_order_and_an_expression_that_is_two_are_told_before_a_run(
    folder: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    url = f"sqlite:///{tmp_path}/legacy.db"
    tiny_platform.fill(url)
    replace(folder, "checks/patient.yaml", old, new)
    checks = load_migration(folder).checks.entities["patient"]
    with snapshot(connect_engine(url)) as connection, pytest.raises(DefinitionError, match=told):
        try_checks(connection, folder / "checks" / "patient.yaml", checks)


def test_a_table_that_is_looked_up_the_short_way_is_told_too(folder: Path) -> None:
    old, new = 'ctx.required_code("sex", row["sex"], "sex")', 'ctx.row.required_code("sexes", "sex")'
    replace(folder, "mappings/patient.py", old, new)
    with pytest.raises(DefinitionError, match=r"patient\.py:13: there is no code table sexes"):
        load_migration(folder)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("patient.famly", "names patient.famly: the SELECT of patient gives no such column"),
        ("patient.famly", "so that its texts stay values; did you mean family?"),
        ("patient.kg", "names patient.kg: the SELECT of patient gives no such column"),
        ("patient.family", ""),
        ("patient.surname", ""),
    ],
)
def test_a_text_for_no_value_of_a_column_that_nobody_reads_is_told(folder: Path, column: str, told: str) -> None:
    replace(folder, "plan.yaml", "  sentinel_dates", f"  column_null_tokens: {{{column}: ['-']}}\n  sentinel_dates")
    replace(folder, "mappings/patient.py", 'ctx.text(row["family"], "family")', 'ctx.text(row["family"], "surname")')
    found = [line for line in doubts_of(load_migration(folder)) if "column_null_tokens" in line]
    assert len(found) == bool(told) and told in "".join(found)


def test_a_text_for_no_value_of_no_entity_is_refused(folder: Path) -> None:
    replace(folder, "plan.yaml", "  sentinel_dates", "  column_null_tokens: {patients.family: ['-']}\n  sentinel_dates")
    with pytest.raises(
        DefinitionError, match=r"plan\.yaml:\d+: column_null_tokens names patients\.family, of no entity"
    ):
        load_migration(folder)
