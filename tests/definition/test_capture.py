"""capture.yaml is judged against the SQL of the entities: every table they read is captured or declared static."""

from __future__ import annotations

from pathlib import Path

import pytest

from medferry.definition.capture import CaptureRules, load_capture, tables_read
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError
from medferry.source.changes.rules import CaptureMethod, KeyOf
from medferry.source.entity import SourceEntity, load_entities

VISIT = """
-- key: id
-- unit: unit
WITH open AS (SELECT * FROM visits WHERE closed IS NULL)
SELECT o.id, 'a' AS unit, (SELECT max(c.zone) FROM legacy.Clinics c WHERE c.id = o.clinic_id) AS zone, p.name
FROM open o LEFT JOIN patients p ON p.id = o.patient_id
"""
PATIENT = "-- key: id\n-- unit: unit\nSELECT id, 'a' AS unit FROM patients\n"
GOOD = """
static: {legacy.clinics: never changes}
entities:
  patient: {tables: {patients: id}}
  visit:
    tables:
      visits: "{row}.id"
      patients: SELECT v.id FROM visits v WHERE v.patient_id = {row}.id
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "entities").mkdir()
    (tmp_path / "entities/visit.sql").write_text(VISIT.strip())
    (tmp_path / "entities/patient.sql").write_text(PATIENT)
    return tmp_path


def load(folder: Path, text: str) -> CaptureRules:
    (folder / "capture.yaml").write_text(text)
    rules = load_capture(folder, load_entities(folder / "entities"))
    assert rules
    return rules


def test_without_the_file_there_is_no_capture(folder: Path) -> None:
    assert load_capture(folder, load_entities(folder / "entities")) is None


def test_good_rules_are_turned_over_to_tables(folder: Path) -> None:
    rules = load(folder, GOOD)
    assert {table: [key.entity for key in keys] for table, keys in rules.watched().items()} == {
        "patients": ["patient", "visit"],
        "visits": ["visit"],
    }
    assert rules.by_method(CaptureMethod.LOG) == ["patient", "visit"]


@pytest.mark.parametrize("name", ['"Pat Id"', "`Pat Id`", "größe"])
def test_a_name_may_stand_in_the_quotes_of_any_engine(folder: Path, name: str) -> None:
    rules = load(folder, GOOD.replace('"{row}.id"', f"'{{row}}.{name}'").replace("{row}.id", f"{{row}}.{name}"))
    (visit,) = rules.watched()["visits"]
    _, looked_up = rules.watched()["patients"]
    assert (visit.logged("NEW"), looked_up.logged("OLD")) == ([f"NEW.{name}"], [f"OLD.{name}"])
    assert looked_up.lookup(lambda place: f"?{place}").endswith("v.patient_id = ?0")
    assert KeyOf.of("visit", name).logged("NEW") == [f"NEW.{name}"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("static: {legacy.clinics: never changes}", "", "visit reads legacy.clinics, which is neither captured"),
        ("patients: SELECT", "people: SELECT", "visit reads patients, which is neither captured"),
        ("  patient: {tables: {patients: id}}", "", "does not say how changes of patient are found"),
        ("patient: {", "nobody: {", "does not say how changes of patient are found"),
        ("patient: {tables", "patient: {method: sweep, tables", "patient is swept, so its tables log nothing"),
        ("patient: {tables: {", "patient: {tables: {visits: id, ", "patient does not read visits"),
        ("patient: {", "patient: {static: {visits: unused}, ", "patient does not read visits"),
        ("'{row}.id'", "'1'", "names no column of the changed row"),
        ("= {row}.id", "= 1", "names no column of the changed row"),
        ("patients: id}", "patients: [id, clinic]}", "has 1 column.s., this gives 2"),
        ("SELECT v.id", "SELECT v.id, v.no", "has 1 column.s., this gives 2"),
        ("patients: id}", 'patients: "{row}.id +"}', "not valid SQL"),
        ("patients: id}", "patients: ''}", "at least 1 character"),
        ("patient: {", "patient: {also: {patients: id}, ", "found by a SELECT"),
        ("patient: {", "patient: {also: {visits: SELECT 1}, ", "beside no key of a changed row"),
        ("patient: {", "patient: {also: {patients: SELECT 1}, ", "names no column of the changed row"),
        ("patient: {", "patient: {method: guess, ", "log"),
        ("static: {legacy.clinics: never changes}", "static: {legacy.clinics: ''}", "at least 1 character"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(folder: Path, old: str, new: str, told: str) -> None:
    text = GOOD.replace('"{row}.id"', "'{row}.id'")
    assert old in text
    with pytest.raises(DefinitionError, match=told) as caught:
        load(folder, text.replace(old, new))
    assert caught.value.path.name == "capture.yaml"
    assert caught.value.line


def test_an_unknown_entity_is_told(folder: Path) -> None:
    with pytest.raises(DefinitionError, match="there is no entity nobody"):
        load(folder, GOOD + "  nobody: {tables: {x: id}}\n")


def test_sql_that_no_parser_reads_must_be_swept(folder: Path) -> None:
    (folder / "entities/patient.sql").write_text("-- key: id\n-- unit: unit\nSELECT FROM WHERE ((\n")
    with pytest.raises(DefinitionError, match="cannot be read by a parser"):
        load(folder, GOOD)
    load(folder, GOOD.replace("{tables: {patients: id}}", "{method: sweep}"))


def test_the_tables_of_every_variant_count() -> None:
    entity = SourceEntity(
        "x", Path("x.sql"), ("id",), "unit", None, "X", "SELECT * FROM a", {"sqlite": "SELECT * FROM b"}
    )
    assert tables_read(entity) == {"a", "b"}


def test_every_entity_of_the_clinics_can_be_read() -> None:
    read = {name: tables_read(entity) for name, entity in load_migration("clinics").entities.items()}
    assert read["lab_order"] == {"lab_orders", "lab_results", "clinics"}
    assert all(read.values())


def test_a_select_may_find_by_either_of_two_columns(folder: Path) -> None:
    rules = load(folder, GOOD.replace("= {row}.id", "IN ({row}.id, {row}.merged_into) OR v.y <=> {row}.y"))
    (visit,) = [key for key in rules.watched()["patients"] if key.is_select]
    assert visit.columns == ("id", "merged_into", "y")


def test_a_row_may_belong_to_further_records(folder: Path) -> None:
    further = "SELECT p.id FROM patients p WHERE p.family = {row}.family"
    rules = load(folder, GOOD.replace("patient: {", f'patient: {{also: {{patients: "{further}"}}, '))
    patient = [key for key in rules.watched()["patients"] if key.entity == "patient"]
    assert [key.is_select for key in patient] == [False, True]


def test_capture_of_the_clinics_covers_what_their_entities_read() -> None:
    rules = load_migration("clinics").capture
    assert rules is not None
    assert rules.by_method(CaptureMethod.SWEEP) == []
    # A row of these says of a later one that it repeats it.
    assert [len(keys) for table, keys in rules.watched().items() if table in ("allergies", "immunizations")] == [2, 2]


def test_a_key_is_told_of_any_row() -> None:
    assert KeyOf.of("x", "id").logged("NEW") == ["NEW.id"]
    assert KeyOf.of("x", "coalesce({row}.a, {row}.b)").logged("OLD") == ["coalesce(OLD.a, OLD.b)"]
    assert KeyOf.of("x", ["clinic", "{row}.number"]).logged("NEW") == ["NEW.clinic", "NEW.number"]
    looked_up = KeyOf.of("x", "SELECT y.id FROM y WHERE y.a = {row}.b AND y.c = {row}.a AND y.d <> {row}.b")
    assert looked_up.logged("NEW") == ["NEW.a", "NEW.b"]
    assert looked_up.lookup(lambda place: f"?{place}") == "SELECT y.id FROM y WHERE y.a = ?1 AND y.c = ?0 AND y.d <> ?1"
