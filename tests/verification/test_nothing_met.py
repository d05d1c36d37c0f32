"""Nothing against nothing is no comparison: a slot whose checks met no value is not proven, but by hashes only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medferry.definition.migration import load_migration
from medferry.errors import HashesOnly
from medferry.governance.verdict import Verdict, Word
from medferry.manifest.checks import CheckStatus
from medferry.runtime.environment import Environment
from medferry.verification.coverage import DECLARED
from medferry.verification.recorder import CheckRecorder
from medferry.verification.run import verify_subject
from tests.tiny_platform import MIGRATION
from tests.workflows.test_migrate import migrate

EMPTY: list[dict[str, Any]] = [
    {"name": "middle", "sql": "NULLIF(p.family, p.family)", "path": "name.given[1]", "compare": "text"},
    {"name": "suffix", "sql": "NULLIF(p.id, p.id)", "path": "name.suffix", "compare": "exact"},
    {"name": "died", "path": "deceasedBoolean", "compare": "absent"},
]
FAMILY: dict[str, Any] = {"name": "family", "sql": "p.family", "path": "name.family", "compare": "text"}
NOTES: dict[str, Any] = {"name": "notes", "path": "note.text", "compare": "text", "from": "staff x", "key": "x.id"}
NOTES |= {"where": "x.family = 'nobody'", "sql": "x.family"}

BY_HASH = ("gender", "managingOrganization", "birthDate")
"""What differs from patient to patient and is not compared here."""

Checked = Callable[..., Environment]


@pytest.fixture
def checked(tiny: Environment, tmp_path: Path) -> Checked:
    """The tiny platform, where an entity's main resource has these checks and lists only."""
    folders = iter(tmp_path / str(number) for number in range(9))

    def make(entity: str, checks: list[dict[str, Any]], many: list[dict[str, Any]], **accepted: str) -> Environment:
        folder = Path(shutil.copytree(MIGRATION, next(folders), ignore=shutil.ignore_patterns("__pycache__")))
        file, plan = folder / "checks" / f"{entity}.yaml", folder / "plan.yaml"
        declared = yaml.safe_load(file.read_text())
        of_others = dict.fromkeys(BY_HASH if entity == "patient" else (), "Of this no check is asked here.")
        declared["resources"]["main"] |= {"checks": checks, "many": many, "by_hash": of_others}
        file.write_text(yaml.safe_dump(declared))
        planned = yaml.safe_load(plan.read_text())
        planned["acceptance"]["hashes_only"] = accepted
        plan.write_text(yaml.safe_dump(planned))
        return Environment(load_migration(folder), tiny.settings)

    return make


def statuses(found: Verdict, entity: str) -> dict[str, str]:
    names = ("value: ", DECLARED)
    return {one.name: one.status for one in found.results if one.entity == entity and one.name.startswith(names)}


def test_checks_that_meet_no_value_prove_nothing(tiny: Environment, checked: Checked) -> None:
    migrate(tiny, "first")
    found = verify_subject(checked("patient", EMPTY, [])).verdict
    assert not found.unresolved
    assert (found.text(), found.hashes_only) == (Word.HASHES_ONLY, ["patient"])
    assert statuses(found, "patient") == {
        "value: main/middle": CheckStatus.NOTHING,
        "value: main/suffix": CheckStatus.NOTHING,
        "value: main/died": CheckStatus.EQUAL,
        DECLARED: CheckStatus.HASHES_ONLY,
    }
    with pytest.raises(HashesOnly):
        found.require_passed("")
    found = verify_subject(checked("weight", [], [NOTES])).verdict
    assert (found.text(), found.hashes_only) == (Word.HASHES_ONLY, ["weight"])
    assert statuses(found, "weight")["value: main/notes"] == CheckStatus.NOTHING
    found = verify_subject(checked("weight", [], [NOTES], weight="Weighed by hand.")).verdict
    assert found.text() == Word.PROVEN, "accepted by name"


def test_columns_that_are_never_filled_spoil_no_verdict_beside_one_that_is(tiny: Environment, checked: Checked) -> None:
    migrate(tiny, "first")
    found = verify_subject(checked("patient", [*EMPTY, FAMILY], [])).verdict
    assert not found.unresolved
    assert (found.text(), found.hashes_only) == (Word.PROVEN, [])
    assert statuses(found, "patient")["value: main/middle"] == CheckStatus.NOTHING


@given(st.lists(st.sampled_from(["empty", "equal", "different", "unchecked"])))
def test_what_was_empty_counts_beside_a_value_alone(events: list[str]) -> None:
    recorder = CheckRecorder("patient", lambda _: None)
    recorder.expect("value")
    for event in events:
        if event == "empty":
            recorder.empty("value")
        elif event == "unchecked":
            recorder.unchecked("value", 1, "why")
        else:
            recorder.judge("value", "1", "", None if event == "equal" else "different")
    values = {*events} - {"empty"}
    compared = len([event for event in events if event != "unchecked"])
    assert recorder.has_value("value") == bool(values) and recorder.has_compared("value") == bool(events)
    [result] = recorder.results()
    assert (result.status == CheckStatus.NOTHING) == (not values)
    assert result.compared == (compared if values & {"equal", "different"} else 0)
