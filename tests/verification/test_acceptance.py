"""What may be set aside and what must exist: of the subject, of each entity and unit, by plan and checks."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError, VerificationFailed
from medferry.governance.register import is_fault
from medferry.governance.verdict import verdict_of
from medferry.manifest.checks import CheckStatus, checks_of, differences_of
from medferry.runtime.environment import Environment
from medferry.verification.run import verify_run
from tests.tiny_platform import MIGRATION
from tests.workflows.test_migrate import migrate


def patients(when: str = "p.deleted_at IS NULL") -> dict[str, Any]:
    """The checks of the tiny platform's patients, naming no unit."""
    checks: dict[str, Any] = yaml.safe_load((MIGRATION / "checks" / "patient.yaml").read_text())
    checks.pop("unit")
    checks["resources"]["main"]["when"] = when
    return checks


def altered(tiny: Environment, folder: Path, checks: dict[str, Any] | None = None, **acceptance: Any) -> Environment:
    """The tiny platform with other limits and, for the patients, checks."""
    copy = Path(shutil.copytree(MIGRATION, folder / "tiny"))
    plan = yaml.safe_load((copy / "plan.yaml").read_text())
    plan["acceptance"] |= acceptance
    (copy / "plan.yaml").write_text(yaml.safe_dump(plan))
    if checks:
        (copy / "checks" / "patient.yaml").write_text(yaml.safe_dump(checks))
    return Environment(load_migration(copy), tiny.settings)


def migrated(environment: Environment) -> tuple[str, set[tuple[str, str, CheckStatus]]]:
    """The verdict on a whole run, and what stands against it."""
    with suppress(VerificationFailed):
        migrate(environment, "r")
    with environment.manifest.begin() as connection:
        faults = {(one.name, one.entity, one.status) for one in filter(is_fault, checks_of(connection, "r"))}
        return verdict_of(connection, "r").text(), faults


def kinds(environment: Environment, name: str) -> set[tuple[str, str]]:
    with environment.manifest.begin() as connection:
        return {(one.key, one.kind) for one in differences_of(connection, "r") if one.name == name}


def test_of_no_unit_is_everything_set_aside_unless_the_plan_names_it(tiny: Environment, tmp_path: Path) -> None:
    environment = altered(tiny, tmp_path, may_be_set_aside=["south/weight"], max_quarantined_share=1.0)
    assert migrated(environment) == ("not proven", {("acceptance: entity", "patient", CheckStatus.DIFFERENT)})
    assert kinds(environment, "acceptance: entity") == {("south/patient", "everything set aside")}


def test_a_small_group_is_no_evidence_where_the_plan_says_so(tiny: Environment, tmp_path: Path) -> None:
    environment = altered(tiny, tmp_path, may_be_set_aside=["south/weight"], small_group=5)
    assert migrated(environment) == ("proven", set())


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        ({"entities": {}, "max_rejected_share": 0.1}, ("acceptance: entity", "patient")),
        ({"units": {"south": {"max_rejected_share": 1}}}, ("acceptance: unit", "all")),
        ({"max_skipped_share": 0.01}, ("acceptance: skipped", "all")),
        (
            {"entities": {"patient": {"max_skipped_share": 0.1, "max_quarantined_share": 1}}},
            ("acceptance: entity", "patient"),
        ),
    ],
)
def test_the_limits_hold_for_each_entity_and_unit(
    tiny: Environment, tmp_path: Path, limits: dict[str, Any], fault: tuple[str, str]
) -> None:
    verdict, faults = migrated(altered(tiny, tmp_path, **limits))
    assert verdict == "not proven"
    assert fault in {one[:2] for one in faults}


def test_a_row_that_is_skipped_though_the_checks_want_it_is_a_difference(tiny: Environment, tmp_path: Path) -> None:
    environment = altered(tiny, tmp_path, patients("p.id <> 7"))  # the third is soft-deleted
    assert migrated(environment)[0] == "not proven"
    assert kinds(environment, "manifest: resources of successful rows") == {("3", "skipped, yet must exist")}


def test_rows_that_the_entity_s_own_sql_loses_are_counted_by_the_checks(tiny: Environment, tmp_path: Path) -> None:
    """The checks name no unit: that is the entity's word, and a row without it is in none."""
    environment = altered(tiny, tmp_path, patients())
    assert migrated(environment) == ("proven", set())
    path = environment.migration.folder / "entities" / "patient.sql"
    path.write_text(path.read_text() + "WHERE id <> 2\n")
    environment = Environment(load_migration(environment.migration.folder), tiny.settings)
    assert {(one.name, one.entity) for one in verify_run(environment, "r") if is_fault(one)} == {
        ("source count", "patient"),
        ("source keys", "patient"),
    }
    assert kinds(environment, "source keys") == {("2", "in no unit")}


def test_an_empty_source_proves_nothing(tiny: Environment, tmp_path: Path) -> None:
    with tiny.source.begin() as connection:
        for table in ("clinic", "staff", "patient", "weight"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    environment = altered(tiny, tmp_path, may_be_empty=["clinic", "staff", "patient", "weight"])
    assert migrated(environment) == ("not proven", {("source rows", "all", CheckStatus.NOTHING)})


@pytest.mark.parametrize("declared", [True, False])
def test_an_empty_entity_is_proven_where_the_plan_says_that_it_may_be(
    tiny: Environment, tmp_path: Path, declared: bool
) -> None:
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("DELETE FROM weight")
    verdict, faults = migrated(altered(tiny, tmp_path, may_be_empty=["weight"] if declared else []))
    assert verdict == ("proven" if declared else "not proven")
    assert faults == (set() if declared else {("source rows", "weight", CheckStatus.NOTHING)})


@pytest.mark.parametrize(
    "acceptance",
    [{"entities": {"bed": {}}}, {"may_be_empty": ["bed"]}, {"may_be_set_aside": ["south"]}, {"units": {"east": {}}}],
)
def test_names_in_the_acceptance_are_judged_with_the_plan(
    tiny: Environment, tmp_path: Path, acceptance: dict[str, Any]
) -> None:
    with pytest.raises(DefinitionError, match="acceptance names the unknown"):
        altered(tiny, tmp_path, **acceptance)
