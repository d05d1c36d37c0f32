"""The plan's matrix says whose value stands; where it says nothing, nobody is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medferry.errors import DefinitionError
from medferry.fhir.sides import Side
from medferry.governance.authority import against, authority, winner
from medferry.plan.authority import AgainstPolicy, FieldPolicy
from medferry.plan.load import load_plan
from medferry.plan.model import Plan

PLAN = {
    "name": "toy",
    "title": "Toy",
    "strategy": "phased",
    "identifier_base": "https://toy.example/legacy",
    "source": {"connection": "legacy", "time_zone": "America/New_York"},
    "units": [{"id": "north"}, {"id": "south"}, {"id": "west"}],
}
BOTH = {
    "domain": "people",
    "units": ["north"],
    "writer": "both",
    "accepted_by": "A. Person",
    "reason": "Reception writes in both for a month.",
    "other_fields": "ask",
    "fields": [
        {"paths": ["telecom", "address"], "policy": "medplum_wins"},
        {"paths": ["telecom.rank", "name"], "policy": "legacy_wins"},
    ],
}
RULES: list[dict[str, Any]] = [
    BOTH,
    {"domain": "people", "units": ["south"], "writer": "medplum", "against": "set_back"},
    {"domain": "people", "writer": "legacy", "against": "set_back"},
    {"domain": "clinical", "writer": "medplum"},
]
DOMAINS = {"people": ["patient"], "clinical": ["Condition", "Patient"]}


def plan(rules: list[dict[str, Any]] = RULES, **more: Any) -> Plan:
    return Plan.model_validate(PLAN | {"authority": {"domains": DOMAINS, "rules": rules, **more}})


@pytest.mark.parametrize(
    ("path", "policy", "wins"),
    [
        ("telecom", FieldPolicy.MEDPLUM_WINS, Side.MEDPLUM),
        ("telecom.value", FieldPolicy.MEDPLUM_WINS, Side.MEDPLUM),
        ("telecom.rank", FieldPolicy.LEGACY_WINS, Side.LEGACY),
        ("name.family", FieldPolicy.LEGACY_WINS, Side.LEGACY),
        ("names", FieldPolicy.ASK, None),
        ("birthDate", FieldPolicy.ASK, None),
    ],
)
def test_where_both_write_the_longest_path_counts(path: str, policy: FieldPolicy, wins: Side | None) -> None:
    assert authority(plan(), "north", "patient", path) is policy
    assert winner(plan(), "north", "patient", path) is wins


def test_one_writer_is_a_side_and_wins_where_the_other_is_set_back() -> None:
    assert authority(plan(), "south", "patient", "name") is Side.MEDPLUM
    assert authority(plan(), "west", "patient", "name") is Side.LEGACY
    assert winner(plan(), "south", "patient", "name") is Side.MEDPLUM
    assert winner(plan(), "west", "patient", "name") is Side.LEGACY
    assert authority(plan(), "west", "problem", "code", "Condition") is Side.MEDPLUM
    assert winner(plan(), "west", "problem", "code", "Condition") is None
    assert authority(plan(), "west", "patient", "name", "Patient") is Side.LEGACY  # the entity goes before the type


def test_by_default_the_legacy_database_is_written_and_what_medplum_has_is_kept() -> None:
    bare = Plan.model_validate(PLAN)
    assert authority(bare, "north", "patient", "name") is Side.LEGACY
    assert against(bare, "north", "patient") is AgainstPolicy.KEEP
    assert winner(bare, "north", "patient", "name") is None


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([{**BOTH, "accepted_by": " "}], "two writers of people must be accepted by name"),
        ([{**BOTH, "reason": ""}], "two writers of people must be accepted by name"),
        ([{**BOTH, "units": ["east"]}], "authority names the unknown unit east"),
        ([{**BOTH, "against": "set_back"}], "none of them writes against it"),
        ([{**BOTH, "fields": [*BOTH["fields"], BOTH["fields"][0]]}], "address stands twice"),  # type: ignore[misc, index]
        ([{**BOTH, "fields": [{"paths": ["Patient.name"], "policy": "ask"}]}], "authority.rules.0.fields.0.paths.0"),
        ([{**BOTH, "domain": "beds"}], "a rule names the unknown domain beds; the domains: clinical, people"),
        ([{"domain": "people", "writer": "legacy", "other_fields": "legacy_wins"}], "people has one writer"),
        ([{"domain": "people", "writer": "nobody"}], "authority.rules.0.writer"),
        ([RULES[2], RULES[1]], "a rule of people stands behind one of all units"),
        ([RULES[1], RULES[1]], "unit south stands in two rules of people"),
        ([{"domain": "people", "writer": "legacy", "againts": "keep"}], "did you mean against?"),
    ],
)
def test_a_matrix_that_contradicts_itself_is_refused(tmp_path: Path, rules: list[Any], told: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN | {"authority": {"domains": DOMAINS, "rules": rules}}))
    with pytest.raises(DefinitionError) as caught:
        load_plan(path)
    assert told in caught.value.problem


def test_a_member_of_two_domains_is_refused() -> None:
    with pytest.raises(ValueError, match="patient is in two domains, people and others"):
        plan(domains={**DOMAINS, "others": ["patient"]})
