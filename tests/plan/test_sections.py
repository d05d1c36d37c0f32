"""The sections for people: typed, all faults named, and each question that is left open told in its own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from medferry.definition.outline import MIGRATIONS_FOLDER
from medferry.errors import DefinitionError
from medferry.plan.load import load_plan
from medferry.plan.model import Plan
from medferry.plan.people import Approval
from medferry.plan.questions import Question, open_questions
from medferry.plan.rows import text_of_rows
from medferry.plan.schema import plan_schema
from medferry.plan.sections import LegacyWriter, Training

ANSWERED = """name: toy
title: Toy
strategy: phased
identifier_base: https://toy.example/legacy
source: {connection: legacy, time_zone: America/New_York}
units:
  - id: north
  - id: south
waves:
  - {id: first, units: [north]}
  - {id: second, units: [south]}
timeline:
  zone: America/New_York
  waves:
    first: {opens: 2027-01-16 19:00:00, closes: "2027-01-17 05:00"}
    second: {opens: "2027-02-16 19:00", closes: "2027-02-17 05:00"}
stakeholders:
  - {name: Ada, role: medical director, contact: ada@toy.example, approves: [cutover, rollback]}
data_required:
  domains: {registration: [patient]}
  history: Every row, back to the first day.
  excluded: {test records: They are no patient's.}
downtime: {longest_freeze_minutes: 5, units: {north: 1.5}}
tools:
  - {tool: The legacy application, becomes: Medplum's application}
training:
  - {who: Front desk, what: Registration, by: 2027-01-08}
rollback: {window_days: 14, triggers: [A chart lacks an allergy.]}
"""


def plan_of(tmp_path: Path, text: str) -> Plan:
    (tmp_path / "plan.yaml").write_text(text)
    return load_plan(tmp_path / "plan.yaml")


def without(section: str) -> str:
    known = yaml.safe_load(ANSWERED)
    del known[section]
    return yaml.safe_dump(known)


def test_what_is_answered_is_not_open(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ANSWERED)
    assert [open_questions(plan, wave, {"patient"}) for wave in ("first", "second")] == [[], []]


@pytest.mark.parametrize("question", list(Question))
def test_each_question_that_is_left_out_is_open_by_name(tmp_path: Path, question: Question) -> None:
    found = open_questions(plan_of(tmp_path, without(question)), "second", {"patient"})
    assert [one.question for one in found] == [question]
    assert found[0].remedy


def test_no_two_questions_say_the_same(tmp_path: Path) -> None:
    known = yaml.safe_load(ANSWERED)
    bare = {name: value for name, value in known.items() if name not in {*Question}}
    found = open_questions(plan_of(tmp_path, yaml.safe_dump(bare)), "first", {"patient"})
    assert [one.question for one in found] == list(Question)
    assert len({one.problem for one in found}) == len({one.remedy for one in found}) == len(Question)


HALF: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no window of this wave": (lambda plan: plan["timeline"]["waves"].pop("first"), "when wave first may be flipped"),
    "nobody approves a cutover": (
        lambda plan: plan["stakeholders"][0].update(approves=["rollback"]),
        "nobody may approve a cutover",
    ),
    "nobody approves a rollback": (
        lambda plan: plan["stakeholders"][0].update(approves=["cutover"]),
        "nobody may approve a rollback",
    ),
    "an entity in no domain": (
        lambda plan: plan["data_required"]["domains"].update(registration=["coverage"]),
        "patient: in no domain",
    ),
    "tools of another wave": (lambda plan: plan["tools"][0].update(waves=["second"]), "tools change with wave first"),
    "training of another wave": (lambda plan: plan["training"][0].update(waves=["second"]), "who of wave first"),
}


@pytest.mark.parametrize("name", HALF)
def test_a_question_that_is_half_answered_is_open(tmp_path: Path, name: str) -> None:
    change, problem = HALF[name]
    known = yaml.safe_load(ANSWERED)
    change(known)
    found = open_questions(plan_of(tmp_path, yaml.safe_dump(known)), "first", {"patient"})
    assert len(found) == 1 and problem in found[0].problem


WRONG = {
    "closes before it opens": (('closes: "2027-01-17', 'closes: "2027-01-15'), "before it opens"),
    "an instant that is skipped": (("2027-01-16 19:00:00", '"2026-03-08 02:30"'), "skipped or comes twice"),
    "an instant that comes twice": (("2027-01-16 19:00:00", '"2026-11-01 01:30"'), "skipped or comes twice"),
    "an unknown zone": (("zone: America/New_York\n  waves", "zone: America/Gotham\n  waves"), "no IANA time zone"),
    "an unknown wave": (("    second: {opens", "    third: {opens"), "timeline names the unknown wave third"),
    "waves in a ring": (('"2027-01-17 05:00"', '"2027-01-17 05:00", after: [second]'), "wait for each other"),
    "an unknown unit": (("units: {north: 1.5}", "units: {east: 1.5}"), "downtime names the unknown unit east"),
    "an unknown approval": (("[cutover, rollback]", "[cutover, everything]"), "stakeholders.0.approves"),
    "a freeze of no length": (("longest_freeze_minutes: 5", "longest_freeze_minutes: 0"), "longest_freeze_minutes"),
    "a trigger of a word": (("[A chart lacks an allergy.]", "[Panic]"), "rollback.triggers.0"),
    "a misspelt setting": (("becomes:", "become:"), "did you mean becomes"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_when_it_is_read(tmp_path: Path, name: str) -> None:
    (old, new), problem = WRONG[name]
    assert ANSWERED.count(old) == 1
    with pytest.raises(DefinitionError, match=problem):
        plan_of(tmp_path, ANSWERED.replace(old, new))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = (
        ANSWERED.replace("becomes:", "become:").replace("[Panic]", "[x]").replace("window_days: 14", "window_days: 0")
    )
    with pytest.raises(DefinitionError) as caught:
        plan_of(tmp_path, text)
    assert "tools.0.become" in caught.value.problem and "rollback.window_days" in caught.value.problem


def test_a_window_is_told_in_utc_and_waves_have_an_order(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ANSWERED)
    assert plan.timeline
    assert plan.timeline.window_of("first") == (
        datetime(2027, 1, 17, 0, tzinfo=UTC),
        datetime(2027, 1, 17, 10, tzinfo=UTC),
    )
    assert plan.timeline.window_of("none") is None
    assert (plan.before("first", ["first", "second"]), plan.before("second", ["first", "second"])) == ([], ["first"])


def test_the_shortest_tolerance_of_a_wave_s_units_counts(tmp_path: Path) -> None:
    downtime = plan_of(tmp_path, ANSWERED).downtime
    assert downtime
    assert [downtime.seconds_of(units) for units in (["north"], ["south"], ["north", "south"])] == [90, 300, 90]


def test_what_is_to_be_done_is_not_done_before_its_day() -> None:
    training = Training.model_validate(
        {"who": "all", "what": "charts", "by": date(2027, 1, 8), "done": date(2027, 1, 5)}
    )
    assert [training.is_done(date(2027, 1, day)) for day in (4, 5)] == [False, True]


def test_a_writer_is_accepted_by_name_alone() -> None:
    desk = LegacyWriter(who="desk@10.1.*", application="scheduler", what="Front desk", accepted_by="Ada")
    assert desk.is_of("desk@10.1.7.3", "scheduler")
    assert not desk.is_of("desk@10.1.7.3", "psql") and not desk.is_of("root@10.1.7.3", "scheduler")
    with pytest.raises(ValueError, match="must be named"):
        LegacyWriter(who="*", what="everybody", accepted_by="Ada")


def test_sections_change_no_row(tmp_path: Path) -> None:
    """The fingerprint is that of the text without them; all else counts, and so does an anchor that others refer to."""
    rows = text_of_rows(ANSWERED)
    assert rows == ANSWERED[: ANSWERED.index("timeline:")]
    assert text_of_rows(rows) == rows
    assert text_of_rows(ANSWERED.replace("window_days: 14", "window_days: 7")) == rows
    assert text_of_rows(ANSWERED.replace("title: Toy", "title: Tow")) != rows
    anchored = ANSWERED.replace("rollback:", "rollback: &way")
    flow = json.dumps(yaml.safe_load(ANSWERED), default=str)
    odd = ANSWERED.replace("Front desk", "Front\u2028desk")
    as_they_are = (anchored, flow, odd, "a: [", "", "text")
    assert [text_of_rows(text) for text in as_they_are] == [*as_they_are]
    between = ANSWERED.replace("name: toy\n", "rollback:\n  window_days: 3\nname: toy\n", 1)
    told = ANSWERED.replace("timeline:", "\n# When we are ready.\ntimeline:")
    assert text_of_rows(told) == rows
    assert text_of_rows(between.replace("\n", "\r\n")) == rows.replace("\n", "\r\n")


@pytest.mark.parametrize("path", [*MIGRATIONS_FOLDER.glob("*/plan.yaml")], ids=lambda path: path.parent.name)
def test_the_published_schema_takes_the_plans_that_there_are(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=../../../docs/plan.schema.json")
    assert faults_by_schema(text) == []


def test_the_published_schema_finds_faults() -> None:
    assert faults_by_schema(ANSWERED) == []
    assert "become" in faults_by_schema(ANSWERED.replace("becomes:", "become:"))[0]
    assert faults_by_schema(ANSWERED.replace("[cutover, rollback]", "[everything]"))
    assert faults_by_schema(ANSWERED.replace('"2027-01-17 05:00"', "tomorrow"))


def faults_by_schema(text: str) -> list[str]:
    """An editor reads dates and times as text."""
    known = yaml.load(text, Loader=_Editor)
    return [error.message for error in jsonschema.Draft202012Validator(json.loads(plan_schema())).iter_errors(known)]


class _Editor(yaml.SafeLoader):
    pass


_Editor.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))


def test_the_demo_s_plan_answers_every_question() -> None:
    plan = load_plan(MIGRATIONS_FOLDER / "clinics/plan.yaml")
    entities = {path.stem.partition(".")[0] for path in (MIGRATIONS_FOLDER / "clinics/entities").glob("*.sql")}
    assert [open_questions(plan, wave.id, entities) for wave in plan.waves] == [[], [], []]
    assert plan.approvers(Approval.RETIRE)


FOUR_EYES = """
four_eyes: {acts: [cutover]}
stakeholders:
  - {name: Ada, role: medical director, contact: ada@toy.example, approves: [cutover, rollback], os_user: ada}
"""


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("", "Ada alone may"),
        ("  - {name: Ben, role: operations, contact: b@x, approves: [cutover]}", "Ada alone may"),
        ("  - {name: Ben, role: operations, contact: b@x, approves: [rollback], os_user: ben}", "Ada alone may"),
        ("  - {name: Ben, role: operations, contact: b@x, approves: [cutover], os_user: Ada}", "account os:ada is of"),
    ],
)
def test_four_eyes_need_two_people_each_with_an_account(tmp_path: Path, added: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        plan_of(tmp_path, without("stakeholders") + FOUR_EYES + added)


def test_four_eyes_of_two(tmp_path: Path) -> None:
    second = "  - {name: Ben, role: operations, contact: b@x, approves: [cutover], airflow_user: ben}"
    plan = plan_of(tmp_path, without("stakeholders") + FOUR_EYES + second)
    assert plan.needs_two(Approval.CUTOVER) and not plan.needs_two(Approval.ROLLBACK)
