"""Entities and mappings: each row in one disposition, keys that last, panels and studies brought together."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.mapping.apply import MappedRow
from medferry.source.database import connect_engine
from migrations.synthea.prepare import prepare
from tests.synthea.sample import Sample, load_sample

SKIPPED = {
    ("payer", "not-an-organization"): 1,
    ("coverage", "no-insurance"): 5,
    ("observation", "not-clinical"): 336,
    ("observation", "part-of-panel"): 1_488,
}

Changed = Callable[..., list[MappedRow]]


@pytest.fixture
def changed(sample: Sample, tmp_path: Path) -> Iterator[Changed]:
    """Map an entity after SQL statements on a copy of the sample's database."""
    shutil.copy(str(sample.engine.url.database), tmp_path / "copy.db")
    engine = connect_engine(f"sqlite:///{tmp_path}/copy.db")

    def mapped(entity: str, *statements: str) -> list[MappedRow]:
        with engine.begin() as connection:
            for statement in statements:
                assert connection.execute(sa.text(statement)).rowcount > 0, statement
        return replace(sample, engine=engine).mapped(entity)

    yield mapped
    engine.dispose()


def test_every_row_ends_in_one_disposition(sample: Sample) -> None:
    outcomes = Counter(
        (entity, row.disposition, row.reason) for entity in sample.migration.entities for row in sample.mapped(entity)
    )
    skipped = {(entity, reason): n for (entity, end, reason), n in outcomes.items() if end == "skipped"}
    assert skipped == SKIPPED
    assert {end for _, end, _ in outcomes} == {"pending", "skipped"}
    assert sum(outcomes.values()) == 11_969 - sample.loaded["claims"] - sample.loaded["claims_transactions"]


def test_keys_are_printable_and_hold_no_name(sample: Sample) -> None:
    names = [name for row in sample.rows("patient") for name in (row["first"], row["last"])]
    for entity, source in sample.migration.entities.items():
        for row in sample.rows(entity):
            key = source.key_of(row)
            assert key is not None and re.fullmatch(r"[0-9A-Za-z./:-]{1,200}", key), entity
            assert not any(name in key for name in names), entity


def test_keys_survive_an_export_with_other_patients_before_these(sample: Sample, tmp_path: Path) -> None:
    """Moving every row to another line changes no key."""
    output = tmp_path / "csv"
    shutil.copytree(sample.output / "csv", output)
    for name in ("conditions", "observations", "medications", "supplies"):
        lines = (output / f"{name}.csv").read_text().splitlines()
        first = next(cell for cell in lines[1].split(",") if re.fullmatch(r"[0-9a-f-]{36}", cell))
        moved = [line for line in lines[1:] if first in line]
        rest = [line for line in lines[1:] if first not in line]
        (output / f"{name}.csv").write_text("\n".join([lines[0], *rest, *moved]) + "\n")
    engine = connect_engine(f"sqlite:///{tmp_path}/again.db")
    prepare(engine, output, Path(shutil.copy(sample.migration.folder / "plan.yaml", tmp_path)))
    again = replace(sample, engine=engine)
    for entity in ("condition", "observation", "medication", "supply"):
        assert {r.key: r.resources for r in again.mapped(entity)} == {r.key: r.resources for r in sample.mapped(entity)}


def test_equal_rows_are_told_apart(changed: Changed) -> None:
    copy = (
        "INSERT INTO immunizations SELECT csv_row + 100000, date, patient, encounter, code, description, base_cost "
        "FROM immunizations WHERE csv_row = 2"
    )
    keys = [row.key for row in changed("immunization", copy)]
    assert len(set(keys)) == len(keys) == 130
    assert sum(key.endswith("/2") for key in keys) == 1


def test_blood_pressure_is_one_observation_of_two_rows(sample: Sample) -> None:
    panels = [
        resource
        for row in sample.mapped("observation")
        for resource in row.resources
        if resource["code"]["coding"][0]["code"] == "85354-9"
    ]
    assert len(panels) == 88
    for panel in panels:
        assert sorted(part["code"]["coding"][0]["code"] for part in panel["component"]) == [
            "8462-4",
            "8480-6",
        ]
        assert "valueQuantity" not in panel


def test_half_a_blood_pressure_stays_a_single_observation(changed: Changed) -> None:
    mapped = changed(
        "observation",
        "DELETE FROM observations WHERE csv_row = (SELECT MIN(csv_row) FROM observations WHERE code = '8462-4')",
    )
    codes = Counter(r["code"]["coding"][0]["code"] for row in mapped for r in row.resources)
    assert codes["85354-9"] == 87 and codes["8480-6"] == 1


def test_two_blood_pressures_of_one_moment_are_two_panels(changed: Changed) -> None:
    """Each systolic pressure goes with the diastolic one of its own measurement."""
    columns = "date, patient, encounter, category, code, description, {}, units, type"
    again = (
        f"INSERT INTO observations SELECT csv_row + 100000, {columns.format('value + 100')} FROM observations "
        "WHERE code IN ('8462-4', '8480-6') AND encounter = "
        "(SELECT encounter FROM observations WHERE code = '8480-6' ORDER BY csv_row LIMIT 1)"
    )
    mapped = changed("observation", again)
    panels = [r for row in mapped for r in row.resources if r["code"]["coding"][0]["code"] == "85354-9"]
    assert len(panels) == 89
    for panel in panels:
        low, high = (part["valueQuantity"]["value"] for part in panel["component"])
        assert (low > 150) == (high > 190), "parts of two measurements were mixed"


def test_a_study_of_several_series_is_one_resource(changed: Changed) -> None:
    columns = (
        "id, date, patient, encounter, {}, bodysite_code, bodysite_description, modality_code, modality_description, "
        "{}, sop_code, sop_description, procedure_code"
    )
    more = "INSERT INTO imaging_studies SELECT csv_row + {}, {} FROM imaging_studies WHERE csv_row = 2"
    mapped = changed(
        "imaging_study",
        more.format(100, columns.format("series_uid", "instance_uid || '.2'")),
        more.format(200, columns.format("series_uid || '.2'", "instance_uid || '.3'")),
    )
    assert Counter(row.reason for row in mapped) == {"": 11, "part-of-study": 2}
    study = next(r for row in mapped for r in row.resources if r["numberOfInstances"] == 3)
    assert [series["numberOfInstances"] for series in study["series"]] == [2, 1]
    assert study["numberOfSeries"] == 2


def test_rows_of_an_unknown_encounter_or_organization_are_shared(changed: Changed, sample: Sample) -> None:
    """They are in scope of every wave, and end where their reference cannot be resolved."""
    mapped = changed(
        "condition",
        "UPDATE conditions SET encounter = 'gone' WHERE csv_row = 2",
        "UPDATE encounters SET organization = 'gone' WHERE id = (SELECT encounter FROM conditions WHERE csv_row = 5)",
    )
    assert len(mapped) == sample.loaded["conditions"]


REFUSED = [
    ("condition", "UPDATE conditions SET code = 'E11.9' WHERE csv_row = 2", "unmapped-code", "code"),
    ("condition", "UPDATE conditions SET code = '' WHERE csv_row = 2", "missing-required", "code"),
    ("condition", "UPDATE conditions SET system = 'ICD10' WHERE csv_row = 2", "unmapped-code", "system"),
    ("condition", "UPDATE conditions SET start = '2014-02-30' WHERE csv_row = 2", "impossible-date", "start"),
    ("condition", "UPDATE conditions SET patient = '' WHERE csv_row = 2", "missing-required", "patient"),
    (
        "encounter",
        "UPDATE encounters SET encounterclass = 'orbit' WHERE csv_row = 2",
        "unmapped-code",
        "encounterclass",
    ),
    (
        "encounter",
        "UPDATE encounters SET start = '2014-05-06T08:34:30' WHERE csv_row = 2",
        "impossible-date",
        "start",
    ),
    ("patient", "UPDATE patients SET gender = 'X' WHERE csv_row = 2", "unmapped-code", "gender"),
    ("patient", "UPDATE patients SET lat = 'north' WHERE csv_row = 2", "not-a-number", "lat"),
    ("observation", "UPDATE observations SET value = '12,5' WHERE csv_row = 2", "not-a-number", "value"),
    ("observation", "UPDATE observations SET value = '' WHERE csv_row = 2", "missing-required", "value"),
    ("allergy", "UPDATE allergies SET severity1 = 'MILD' WHERE csv_row = 2", "missing-required", "reaction1"),
    ("supply", "UPDATE supplies SET quantity = 'many' WHERE csv_row = 2", "not-a-number", "quantity"),
]


@pytest.mark.parametrize(("entity", "statement", "reason", "field"), REFUSED)
def test_what_cannot_be_mapped_is_quarantined(
    changed: Changed, entity: str, statement: str, reason: str, field: str
) -> None:
    odd = [row for row in changed(entity, statement) if row.disposition == "quarantined"]
    assert [(row.reason, row.field) for row in odd] == [(reason, field)]


def test_an_answer_is_coded_for_its_own_question_only(changed: Changed) -> None:
    mapped = changed("observation", "UPDATE observations SET value = 'White' WHERE code = '5778-6'")
    colour = next(r for row in mapped for r in row.resources if r["code"]["coding"][0]["code"] == "5778-6")
    assert colour["valueString"] == "White"
    assert "valueCodeableConcept" not in colour


def test_an_allergy_that_ended_keeps_the_day(changed: Changed) -> None:
    mapped = changed("allergy", "UPDATE allergies SET stop = '2001-02-03' WHERE csv_row = 2")
    ended = [r for row in mapped for r in row.resources if r["clinicalStatus"]["coding"][0]["code"] == "resolved"]
    assert [resource["note"] for resource in ended] == [[{"text": "Ended 2001-02-03"}]]


def test_a_second_payer_is_a_coverage_of_order_two(sample: Sample) -> None:
    orders = Counter(r["order"] for row in sample.mapped("coverage") for r in row.resources)
    assert orders == {1: 123, 2: 17}


def test_postgresql_gives_the_same_resources(sample: Sample, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgresql_url")
    other = load_sample(tmp_path, url)
    try:
        for entity in sample.migration.entities:
            mine = {row.key: row for row in sample.mapped(entity)}
            assert {row.key: row for row in other.mapped(entity)} == mine, entity
    finally:
        with other.engine.begin() as connection:
            for table in other.loaded:
                connection.execute(sa.text(f"DROP TABLE {table}"))
        other.engine.dispose()
