"""gate.yaml is judged against what the entities read: every table is gated, or somebody says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from medferry.definition.gate import load_gate
from medferry.errors import DefinitionError
from medferry.source.entity import load_entities

UNITS = ("north", "south")
GATED = "tables: {visits: unit, patients: unit}\n"
RULE = "policy: a1, unit: north, probe: desk, creates: {resourceType: Basic}"
VISIT = """-- key: id
-- unit: unit
SELECT v.id, v.unit, p.name FROM visits v LEFT JOIN patients p ON p.id = v.patient_id
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "entities").mkdir()
    (tmp_path / "entities/visit.sql").write_text(VISIT)
    return tmp_path


def judged(folder: Path, text: str) -> str:
    (folder / "gate.yaml").write_text(text)
    with pytest.raises(DefinitionError) as error:
        load_gate(folder, load_entities(folder / "entities"), UNITS)
    return str(error.value)


def test_none_is_needed(folder: Path) -> None:
    assert load_gate(folder, load_entities(folder / "entities"), UNITS) is None


def test_a_column_an_expression_or_a_select(folder: Path) -> None:
    select = "SELECT v.unit FROM visits v WHERE v.patient_id = {row}.id"
    (folder / "gate.yaml").write_text(
        f"tables:\n  visits: unit\n  patients: {select}\n  bills: 'upper({{row}}.unit)'\n"
    )
    rules = load_gate(folder, load_entities(folder / "entities"), UNITS)
    assert rules is not None
    gated = rules.gated()
    assert [gated[table].is_select for table in ("visits", "patients", "bills")] == [False, True, False]
    (folder / "gate.yaml").write_text("tables:\n  visits: '{row}.\"Pat Id\"'\n  patients: 'upper({row}.`Pat Id`)'\n")
    quoted = load_gate(folder, load_entities(folder / "entities"), UNITS)
    assert quoted and quoted.gated()["patients"].columns == ("`Pat Id`",)
    assert gated["patients"].in_trigger("NEW") == "SELECT v.unit FROM visits v WHERE v.patient_id = NEW.id"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tables: {visits: unit}", "visit reads patients, which is neither gated nor ungated"),
        ("tables: {visits: unit, patients: unit}\nungated: {patients: of the group}", "gated and ungated"),
        ("tables: {visits: unit, patients: \"'north'\"}", "names no column"),
        ("tables: {visits: unit, patients: 'SELECT a, b FROM c WHERE d = {row}.id'}", "no valid SQL of one value"),
        ("tables: {visits: unit, patients: 'SELECT a FROM c WHERE d = {row}.id LIMIT 1'}", "no valid SQL of one value"),
        ("tables: {visits: unit, patients: 'coalesce({row}.unit'}", "no valid SQL of one value"),
        ("tables: {visits: unit}\nungated: {patients: x}", "at least 8"),
        ("tables: {visits: unit}\nopen: true", "no such setting"),
        (f"{GATED}medplum: {{policies: []}}", "at least 1"),
        (f"{GATED}medplum: {{policies: [{{{RULE.replace('north', 'west')}}}]}}", "the plan has no unit west"),
        (f"{GATED}medplum: {{policies: [{{{RULE}}}, {{{RULE}}}]}}", "stands twice for a unit"),
        (
            f"{GATED}medplum: {{policies: [{{{RULE}}}, {{{RULE.replace('north', 'south')}}}]}}",
            "each needs its criteria",
        ),
        (f"{GATED}medplum: {{policies: [{{{RULE.replace('resourceType', 'id')}}}]}}", "must be a resource"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(folder: Path, text: str, told: str) -> None:
    message = judged(folder, text)
    assert told in message and "gate.yaml" in message
