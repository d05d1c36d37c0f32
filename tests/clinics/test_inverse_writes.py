"""An edit of each of the demo's resources reaches the clinics' database and comes back from there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics.generate import fill
from medferry.definition.migration import Migration
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.slices import rows_of
from medferry.source.writeback import write_rows
from tests.clinics.laws import Resource, Row, back, mapped
from tests.clinics.test_whole_legacy import legacy_url

SEED, PATIENTS = 3, 12


def edit(resource: Resource) -> None:
    """What a user of Medplum may change, by type."""
    match resource["resourceType"]:
        case "Patient":
            resource["name"][0]["family"] = "Ó Súilleabháin"
            home = {"system": "phone", "use": "home", "value": "555-0100"}
            others = [one for one in resource.get("telecom", []) if one.get("use") != "home"]
            resource["telecom"] = [home, *others]
            resource["address"] = [{"use": "home", "line": ["1 Elm"], "city": "Salem", "state": "MA", "country": "US"}]
        case "Appointment":
            resource["description"] = "moved"
        case "Encounter":
            resource["reasonCode"] = [{"text": "cough"}]
        case "Condition":
            resource["onsetDateTime"] = "2015-06"
        case "AllergyIntolerance":
            resource["onsetDateTime"] = "2014"
        case "MedicationRequest":
            resource["dosageInstruction"] = [{"text": "one daily"}]
        case "Immunization":
            resource["lotNumber"] = "L-9"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb"])
def test_an_edit_of_each_entity_reaches_its_row_and_comes_back(
    migration: Migration, engine: str, tmp_path: Path
) -> None:
    with legacy_url(engine, tmp_path) as url:
        legacy = connect_engine(url)
        fill(sa.create_engine(legacy.url), SEED, PATIENTS, pace=4.0, truth_path=tmp_path / "truth.json")
        for entity in migration.inverses:
            row, resources = first_row(migration, legacy, entity)
            now = copy.deepcopy(resources)
            for resource in now.values():
                edit(resource)
                if entity == "vitals":
                    resource["effectiveDateTime"] = "2024-07-01T15:00:00Z"
            changes = back(migration, entity, row, now)
            assert changes.columns != {}, entity
            assert changes.cannot_express == (), entity
            tables = migration.inverses[entity].tables
            written = write_rows(legacy, migration.entities[entity], tables, [(row, changes.columns)])[0]
            again = back(migration, entity, written, now)
            assert (again.columns, again.cannot_express) == ({}, ()), entity
        legacy.dispose()


def first_row(migration: Migration, legacy: sa.Engine, name: str) -> tuple[Row, dict[str, Any]]:
    """The first row of an entity that becomes something, and what."""
    entity = migration.entities[name]
    with snapshot(legacy) as connection:
        statement, values = rows_of(connection.dialect.name, entity, migration.plan.unit_ids, None, None)
        for row in stream(connection, statement, values):
            if resources := mapped(migration, name, row):
                return row, resources
    raise AssertionError(name)
