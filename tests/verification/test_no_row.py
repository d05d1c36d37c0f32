"""A check whose `where` holds for no row has compared nothing: it is not green while something stands in its place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from medferry.definition.checks import Check, EntityChecks
from medferry.definition.migration import load_migration
from medferry.manifest.checks import CheckResult, CheckStatus
from medferry.manifest.subject import Subject
from medferry.runtime.environment import Environment
from medferry.verification.legacy import condition
from medferry.verification.no_row import WHY, NoRow
from medferry.verification.ownership import SlotOwnership
from medferry.verification.recorder import CheckRecorder
from medferry.verification.run import verify_subject
from tests.tiny_platform import MIGRATION
from tests.workflows.test_migrate import migrate

SEX: dict[str, Any] = {"name": "sex", "sql": "sex", "path": "gender", "compare": "text", "where": "sex = 'f'"}
PHONE: dict[str, Any] = {**SEX, "name": "phone", "path": "telecom.where(system = 'phone').value"}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "gender": "female",
    "telecom": [{"system": "phone", "value": "1"}],
    "maritalStatus": {"coding": [{"system": "urn:m", "code": "M"}]},
}


def told(check: dict[str, Any], others: list[dict[str, Any]], row: dict[str, int], **declared: Any) -> CheckResult:
    """What one row for which the check does not hold comes to, beside other checks."""
    main = {"checks": [check, *others], **declared}
    checks = EntityChecks.model_validate({"from": "t", "key": "id", "resources": {"main": main}})
    passed_over = NoRow(Check.model_validate(check), SlotOwnership(checks, "main", "urn:t", "urn:b"))
    passed_over.note("7", PATIENT, {condition("sex = 'f'"): 0, **row})
    recorder = CheckRecorder("patient", lambda _: None)
    passed_over.tell("value: main/sex", recorder)
    recorder.expect("value: main/sex")
    [result] = recorder.results()
    return result


@pytest.mark.parametrize(
    "check",
    [
        SEX,
        PHONE,
        {**SEX, "path": "maritalStatus"},
        {**SEX, "path": "maritalStatus.coding", "compare": "code", "table": "m"},
        {**SEX, "path": "gender.lower()"},
    ],
    ids=lambda check: check["path"],
)
def test_what_stands_in_its_place_could_not_be_checked(check: dict[str, Any]) -> None:
    result = told(check, [], {})
    assert (result.status, result.unchecked, result.examples) == (CheckStatus.COULD_NOT_CHECK, 1, ["7 could not check"])
    assert result.note.startswith(WHY)


@pytest.mark.parametrize(
    ("other", "row", "status"),
    [
        ({**SEX, "name": "other", "where": None}, {}, CheckStatus.NOTHING),
        ({**SEX, "name": "other", "where": "sex = 'F'"}, {condition("sex = 'F'"): 1}, CheckStatus.NOTHING),
        ({**SEX, "name": "other", "where": "sex = 'F'"}, {condition("sex = 'F'"): 0}, CheckStatus.COULD_NOT_CHECK),
        ({**PHONE, "where": None}, {}, CheckStatus.COULD_NOT_CHECK),
    ],
    ids=["for every row", "for this row", "not for this row", "of another place"],
)
def test_another_check_that_holds_for_the_row_answers_for_it(
    other: dict[str, Any], row: dict[str, int], status: CheckStatus
) -> None:
    assert told(SEX, [other], row).status == status


def test_so_does_a_declaration_and_nothing_is_missed_where_nothing_stands() -> None:
    assert told(SEX, [], {}, by_hash={"gender": "The same in all."}).status == CheckStatus.NOTHING
    assert told(SEX, [], {}, constants={"gender": "female"}).status == CheckStatus.NOTHING
    assert told({**SEX, "path": "birthDate"}, [], {}).status == CheckStatus.NOTHING
    member = {**SEX, "name": "code", "path": "maritalStatus.coding", "compare": "code", "table": "m", "where": None}
    assert told({**SEX, "path": "maritalStatus"}, [member], {}).status == CheckStatus.NOTHING


def test_it_stands_against_the_verdict(tiny: Environment, tmp_path: Path) -> None:
    migrate(tiny, "first")
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "mistaken"))
    checks = folder / "checks" / "patient.yaml"
    text = checks.read_text()

    def mistaken(where: str) -> Environment:
        checks.write_text(text.replace("table: sex}", f"table: sex, where: {where}}}"))
        return Environment(load_migration(folder), tiny.settings)

    found = verify_subject(mistaken("p.sex = 'f'"))
    [result] = [one for one in found.verdict.unresolved if one.name == "value: main/sex"]
    assert (result.status, result.unchecked) == (CheckStatus.COULD_NOT_CHECK, 3)
    assert verify_subject(mistaken("p.sex = 'f'"), Subject(keys={"patient": ("1",)})).verdict.text() == "proven"
    found = verify_subject(mistaken("p.sex = 'F'"))  # that of one of three
    assert "value: main/sex" not in {one.name for one in found.verdict.unresolved}
