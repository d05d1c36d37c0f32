"""What a load would set off in Medplum is found, decided in the plan, switched off and restored; nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.errors import OptionError
from medferry.governance.side_effects import fires, leaves_out, lines_of
from medferry.plan.sections import SideEffect, SideEffectDecision
from medferry.runtime.environment import Environment
from medferry.workflows.side_effects import disable, look, restore
from tests import tiny_platform

TAG = ("urn:medferry:migration", "tiny")
INTERACTION = "https://medplum.com/fhir/StructureDefinition/subscription-supported-interaction"


def subscription(criteria: str, status: str = "active", **others: Any) -> dict[str, Any]:
    channel = {"type": "rest-hook", "endpoint": "https://user:secret@hooks.example/path?key=secret"}
    return {"resourceType": "Subscription", "status": status, "reason": "test", "criteria": criteria,
            "channel": channel, **others}  # fmt: skip


def decided(decision: SideEffect) -> SideEffectDecision:
    return SideEffectDecision(decision=decision, accepted_by="Ada", reason="We have looked at it.")


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (subscription("Patient"), True),
        (subscription("Patient?gender=male"), True),
        (subscription("Patient", status="off"), False),
        (subscription("Task"), False),
        (subscription("Patient", extension=[{"url": INTERACTION, "valueCode": "delete"}]), False),
        (subscription("Patient", extension=[{"url": INTERACTION, "valueCode": "create"}]), True),
    ],
)
def test_what_a_load_fires(one: dict[str, Any], wanted: bool) -> None:
    assert fires(one, {"Patient"}) is wanted


@pytest.mark.parametrize(
    ("criteria", "wanted"),
    [
        ("Patient?_tag:not=urn:medferry:migration|tiny", True),
        ("Patient?gender=male&_tag:not=urn%3Amedferry%3Amigration%7Ctiny", True),
        ("Patient?_tag=urn:medferry:migration|tiny", False),
        ("Patient?_tag:not=urn:medferry:migration|other", False),
        ("Patient", False),
    ],
)
def test_narrowed_criteria_are_looked_at(criteria: str, wanted: bool) -> None:
    assert leaves_out(criteria, TAG) is wanted
    [line] = lines_of([subscription(criteria, id="1")], {"Patient"}, {"Subscription/1": decided(SideEffect.NARROW)},
                      TAG, ())  # fmt: skip
    assert line.ok is wanted


def test_an_endpoint_is_told_without_its_secrets() -> None:
    [line] = lines_of([subscription("Patient", id="1")], {"Patient"}, {}, TAG, ())
    assert (line.endpoint, line.ok) == ("hooks.example", False)


def test_each_needs_a_decision_and_what_was_switched_off_is_restored(tiny: Environment) -> None:
    assert look(tiny) == []  # there is no manifest yet
    places = create(tiny, subscription("Patient"), subscription("Observation?code=x"), subscription("Task"))
    assert [(line.place, line.ok) for line in look(tiny)] == sorted((place, False) for place in places[:2])
    decisions = {places[0]: decided(SideEffect.DISABLE), places[1]: decided(SideEffect.LEAVE)}
    plan = tiny.migration.plan.model_copy(update={"side_effects": decisions})
    ready = Environment(replace(tiny.migration, plan=plan), tiny.settings)
    assert {line.place: line.ok for line in look(ready)} == {places[0]: False, places[1]: True}
    with pytest.raises(OptionError):
        list(disable(ready, " "))
    assert list(disable(ready, "Ada")) == [places[0]]
    assert {line.place: line.told for line in look(ready)}[places[0]] == "off, by us"
    assert [list(disable(ready, "Ada")), all(line.ok for line in look(ready))] == [[], True]
    assert statuses(tiny, places) == ["off", "active", "active"]
    assert [list(restore(ready, "Ada")), list(restore(ready, "Ada"))] == [[places[0]], []]
    assert statuses(tiny, places) == ["active", "active", "active"]


def test_what_somebody_else_has_switched_off_stays_off(tiny: Environment) -> None:
    [place] = create(tiny, subscription("Patient", status="off"))
    plan = tiny.migration.plan.model_copy(update={"side_effects": {place: decided(SideEffect.DISABLE)}})
    ready = Environment(replace(tiny.migration, plan=plan), tiny.settings)
    assert [list(disable(ready, "Ada")), list(restore(ready, "Ada")), look(ready)] == [[], [], []]
    assert statuses(tiny, [place]) == ["off"]


def test_on_the_command_line(tiny: Environment) -> None:
    words = ["side-effects", "-m", str(tiny_platform.MIGRATION)]
    variables = tiny_platform.variables(tiny.settings) | {"COLUMNS": "200"}
    assert "No Subscription" in CliRunner().invoke(app, words, env=variables).output
    create(tiny, subscription("Patient"))
    shown = CliRunner().invoke(app, words, env=variables)
    assert shown.exit_code == 1 and "nobody has decided" in shown.output and "secret" not in shown.output
    assert "contradict" in CliRunner().invoke(app, [*words, "--disable", "--restore"], env=variables).output


def create(environment: Environment, *subscriptions: dict[str, Any]) -> list[str]:
    with environment.medplum() as client:
        entries = [{"resource": one, "request": {"method": "POST", "url": "Subscription"}} for one in subscriptions]
        return [f"Subscription/{outcome.id}" for outcome in client.batch(entries, 100)]


def statuses(environment: Environment, places: list[str]) -> list[str]:
    with environment.medplum() as client:
        found = {f"Subscription/{one['id']}": one["status"] for one in client.search_all("Subscription", [])}
    return [found[place] for place in places]
