"""A rehearsal cannot flip; a wave is taken down only when the right person has approved what he was shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, TriggerRule

from medferry.errors import SettingsError
from medferry.manifest.cutovers import Direction
from medferry.store.keys import KeyMissing
from medferry.workflows import retire as workflow
from medferry.workflows.retire import NotOver, Retired
from medferry_airflow.around import draw_rehearsal, draw_retirement
from medferry_airflow.asked import NOBODY
from medferry_airflow.tasks import cutover, rehearse, retire
from tests.dags.flips import unasked, ways_out
from tests.dags.test_flips import PEOPLE


@pytest.fixture
def rehearsal() -> DAG:
    with DAG("rehearse_pilot", schedule=None) as dag:
        draw_rehearsal("pilot")
    return dag


@pytest.fixture(params=[False, True], ids=["one person", "two people"])
def retirement(request: pytest.FixtureRequest) -> DAG:
    with DAG("retire_pilot", schedule=None) as dag:
        draw_retirement("pilot", "May it?", PEOPLE, request.param)
    return dag


def test_a_rehearsal_has_no_way_to_a_flip(rehearsal: DAG) -> None:
    assert sorted(rehearsal.task_ids) == ["rehearsal.measure", "rehearsal.stage"]
    assert ways_out(rehearsal) == []


def _flip(name: str) -> None:
    cutover.perform.override(task_id=name)("pilot", str(Direction.FORTH), "flip", "Ada")


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (lambda: _flip("flip"), "flip is a flip"),
        (lambda: _flip("show"), "show is no task of a rehearsal"),
        (lambda: cutover.thaw("pilot", str(Direction.FORTH), "Ada"), "thaw is no task of a rehearsal"),
        (lambda: cutover.thaw.partial(direction="forth", person="A").expand(wave=["pilot"]), "thaw is no task"),
        (lambda: ApprovalOperator(task_id="ask", subject="May it flip?"), "ask is no task of a rehearsal"),
    ],
)
def test_a_planted_way_to_a_flip_is_found(rehearsal: DAG, plant: Callable[[], Any], told: str) -> None:
    with rehearsal:
        plant()
    assert any(told in fault for fault in ways_out(rehearsal)), ways_out(rehearsal)


def test_a_wave_is_taken_down_only_when_the_right_person_has_approved_what_he_was_shown(retirement: DAG) -> None:
    assert unasked(retirement, "retire") == []
    asked = retirement.get_task("approve")
    assert asked.assigned_users == [{"id": "miriam", "name": "Miriam Okafor"}] and "'look'" in str(asked.body)
    with DAG("retire_rest", schedule=None) as dag:
        draw_retirement("rest", "May it?", PEOPLE[1:], two=False)
    assert dag.get_task("approve").assigned_users == [NOBODY]


def _rule(task_id: str, of: TriggerRule) -> Callable[[DAG], None]:
    return lambda dag: setattr(dag.get_task(task_id), "trigger_rule", of)


def _asked(name: str, value: Any) -> Callable[[DAG], None]:
    return lambda dag: setattr(dag.get_task("approve"), name, value)


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (_rule("retire", TriggerRule.ALL_DONE), "without approval"),
        (_rule("approve", TriggerRule.NONE_FAILED), "before anybody has looked"),
        (_asked("fail_on_reject", False), "a rejection does not fail"),
        (_asked("assigned_users", []), "everybody may approve"),
        (_asked("response_timeout", None), "for ever"),
        (_asked("body", None), "without evidence"),
    ],
)
def test_a_planted_way_around_the_approval_is_found(retirement: DAG, plant: Callable[[DAG], None], told: str) -> None:
    plant(retirement)
    assert any(told in fault for fault in unasked(retirement, "retire")), unasked(retirement, "retire")


class _Settings:
    @property
    def evidence_key(self) -> None:
        raise KeyMissing("There is no key to sign the evidence with.", "Make one.")


class _Migration:
    name = "tiny"


class _Environment:
    settings = _Settings()
    migration = _Migration()


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rehearse, retire):
        monkeypatch.setattr(module, "environment", _Environment)


def test_without_its_settings_it_fails_in_the_words_of_the_command(
    nothing_set: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="MEDFERRY_REHEARSAL_MANIFEST_URL"):
        rehearse.measure.function("pilot")
    found = Retired([], ["DROP TABLE x"], ["Tell them."])
    monkeypatch.setattr(workflow, "told", lambda *_: (found, ["it was never flipped"]))
    with pytest.raises(NotOver, match="never flipped"):
        retire.look.function("pilot")
    monkeypatch.setattr(workflow, "told", lambda *_: (found, []))
    with pytest.raises(KeyMissing, match="no key to sign"):
        retire.look.function("pilot")
