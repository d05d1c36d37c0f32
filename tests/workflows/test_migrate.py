"""A whole run on the tiny platform against the embedded Medplum."""

from __future__ import annotations

import pytest

from medferry.errors import LeaseHeld, VerificationFailed
from medferry.manifest import leases
from medferry.manifest.accounting import accounts
from medferry.manifest.database import create_manifest
from medferry.runtime.environment import Environment
from medferry.runtime.options import LoadMode, RunOptions
from medferry.stages.prepare import scope_of
from medferry.workflows.migrate import execute_run
from tests.tiny_platform import EXPECTED, RESOURCES


def migrate(tiny: Environment, run_id: str, units: list[str] | None = None, **options: object) -> dict[str, int]:
    """Run and return the number of resources by action."""
    scope = scope_of(tiny.migration, units, None)
    execute_run(tiny, run_id, "run", scope, RunOptions.model_validate(options), lambda *_: None)
    with tiny.manifest.begin() as connection:
        rows = accounts(connection, run_id)
    return {name: sum(getattr(row, name) for row in rows) for name in ("created", "updated", "unchanged")}


def dispositions(tiny: Environment, run_id: str) -> dict[tuple[str, str], dict[str, int]]:
    with tiny.manifest.begin() as connection:
        rows = accounts(connection, run_id)
    names = ("successful", "skipped", "quarantined", "rejected", "pending")
    return {(r.unit, r.entity): {n: getattr(r, n) for n in names if getattr(r, n)} for r in rows}


@pytest.mark.parametrize("load_mode", list(LoadMode))
def test_every_source_unit_ends_as_its_row_says(tiny: Environment, load_mode: LoadMode) -> None:
    done = migrate(tiny, "first", load_mode=load_mode)
    assert dispositions(tiny, "first") == EXPECTED
    assert done == {"created": RESOURCES, "updated": 0, "unchanged": 0}


@pytest.mark.parametrize("load_mode", list(LoadMode))
def test_a_second_run_changes_nothing(tiny: Environment, load_mode: LoadMode) -> None:
    migrate(tiny, "first", load_mode=load_mode)
    done = migrate(tiny, "second", load_mode=load_mode)
    assert dispositions(tiny, "second") == EXPECTED
    assert done == {"created": 0, "updated": 0, "unchanged": RESOURCES}


def test_small_slices_batches_and_many_lanes_give_the_same(tiny: Environment) -> None:
    done = migrate(tiny, "first", slice_rows=3, batch_size=2, lanes=4)
    assert dispositions(tiny, "first") == EXPECTED
    assert done["created"] == RESOURCES


def test_waves_one_after_the_other_give_the_whole(tiny: Environment) -> None:
    pilot = migrate(tiny, "pilot", tiny.migration.plan.units_of_wave("pilot"))
    assert {unit for unit, _ in dispositions(tiny, "pilot")} == {"shared", "north"}
    rest = migrate(tiny, "rest", tiny.migration.plan.units_of_wave("rest"))
    assert pilot["created"] + rest["created"] == RESOURCES


def test_a_changed_row_updates_its_resource_alone(tiny: Environment) -> None:
    migrate(tiny, "first")
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET family = 'Adair' WHERE id = 1")
    assert migrate(tiny, "second") == {"created": 0, "updated": 1, "unchanged": RESOURCES - 1}


def test_a_resource_changed_in_medplum_is_not_overwritten(tiny: Environment) -> None:
    migrate(tiny, "first")
    system = tiny.migration.naming.system("patient")
    with tiny.medplum() as client:
        [patient] = client.search_all("Patient", [("identifier", f"{system}|1")])
        entry = {
            "resource": {**patient, "birthDate": "1900-01-01"},
            "request": {"method": "PUT", "url": f"Patient/{patient['id']}"},
        }
        assert client.batch([entry], 100)[0].status == 200
        with pytest.raises(VerificationFailed, match="changed since the load of patient"):
            migrate(tiny, "second")
        [after] = client.search_all("Patient", [("identifier", f"{system}|1")])
    assert after["birthDate"] == "1900-01-01"
    assert dispositions(tiny, "second")["north", "patient"] == {"successful": 1, "skipped": 1, "quarantined": 1}


def test_what_somebody_adds_beside_the_mapped_elements_stays_and_is_no_conflict(tiny: Environment) -> None:
    migrate(tiny, "first")
    system = tiny.migration.naming.system("patient")
    with tiny.medplum() as client:
        [patient] = client.search_all("Patient", [("identifier", f"{system}|1")])
        added = {
            "resource": {**patient, "active": True},
            "request": {"method": "PUT", "url": f"Patient/{patient['id']}"},
        }
        assert client.batch([added], 100)[0].status == 200
        with pytest.raises(VerificationFailed, match="changed since the load of patient"):
            migrate(tiny, "second")
        [after] = client.search_all("Patient", [("identifier", f"{system}|1")])
    assert after["active"] is True
    assert dispositions(tiny, "second")["north", "patient"] == {"successful": 2, "skipped": 1}


def test_a_dry_run_writes_nothing(tiny: Environment) -> None:
    migrate(tiny, "dry", dry_run=True)
    with tiny.medplum() as client:
        assert client.count("Patient") == 0
    assert dispositions(tiny, "dry")["north", "patient"] == {"pending": 2, "skipped": 1}


def test_another_run_over_the_same_scope_is_refused_and_told_the_holder(tiny: Environment) -> None:
    create_manifest(tiny.settings.manifest_url)
    with tiny.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "other", ["north/patient"])
    with pytest.raises(LeaseHeld, match="other"):
        migrate(tiny, "first")
    assert migrate(tiny, "south-only", ["south"])["created"] > 0
    assert migrate(tiny, "forced", take_over=True)["created"] > 0


def test_each_stage_tells_how_much_of_how_much_is_done(tiny: Environment) -> None:
    done, whole = dict[str, int](), dict[str, int]()

    def tell(stage: str, _entity: str, number: int, of: int) -> None:
        done[stage] = done.get(stage, 0) + number
        whole[stage] = of

    scope = scope_of(tiny.migration, None, None)
    execute_run(tiny, "first", "run", scope, RunOptions(), tell)
    assert done == whole
    assert set(done) == {"extract", "transform", "load", "verify"}
