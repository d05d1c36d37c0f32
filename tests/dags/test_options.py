"""Every option is declared once: the command line and the trigger form are made from the same fields."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
import typer
from airflow.sdk import DAG
from pydantic import BaseModel
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.errors import OptionError
from medferry.runtime.options import NOT_IN_REPLAY, RunOptions, read_options, refuse_unknown, schema_of
from medferry.verification.options import VerifyOptions

DOORS = [
    ("run", "big_bang", RunOptions, frozenset()),
    ("run", "wave_pilot", RunOptions, frozenset()),
    ("replay", "replay", RunOptions, NOT_IN_REPLAY),
    ("verify", "verify", VerifyOptions, frozenset()),
]
"""Command, DAG, the model of its options, and the fields that this way of working does not have."""

EVERY_FIELD = [
    pytest.param(command, dag_id, model, name, id=f"{dag_id}-{name}")
    for command, dag_id, model, without in DOORS
    for name in model.model_fields
    if name not in without
]


def option_of(command: str, name: str) -> Any:
    """The command-line option of a field, as Typer made it."""
    group: Any = typer.main.get_command(app)
    return next(option for option in group.commands[command].params if option.name == name)


def _members(option: Any) -> list[Any]:
    kind = option.type_descriptor.annotation
    return list(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else []


@pytest.mark.parametrize(("command", "dag_id", "model", "name"), EVERY_FIELD)
def test_default_and_description_are_those_of_the_field_at_both_doors(
    dags: dict[str, DAG], command: str, dag_id: str, model: type[BaseModel], name: str
) -> None:
    field, option, param = model.model_fields[name], option_of(command, name), dags[dag_id].params.get_param(name)
    assert field.description == option.help == param.description
    assert field.default == option.default == param.value


@pytest.mark.parametrize(("command", "dag_id", "model", "name"), EVERY_FIELD)
def test_type_and_bounds_are_those_of_the_field_at_both_doors(
    dags: dict[str, DAG], command: str, dag_id: str, model: type[BaseModel], name: str
) -> None:
    declared, option = schema_of(model, name), option_of(command, name)
    shown = {"values_display", "section", "title"}
    schema = {key: value for key, value in dags[dag_id].params.get_param(name).schema.items() if key not in shown}
    assert schema == declared
    assert [member.value for member in _members(option)] == declared.get("enum", [])
    if declared.keys() & {"exclusiveMinimum", "exclusiveMaximum"}:
        assert option.metavar == "<float range> [0<x<=1]"
    else:
        assert (option.min, option.max) == (declared.get("minimum"), declared.get("maximum"))


@pytest.mark.parametrize(("command", "dag_id", "model", "without"), DOORS)
def test_no_door_has_a_field_that_it_must_not_have(
    dags: dict[str, DAG], command: str, dag_id: str, model: type[BaseModel], without: frozenset[str]
) -> None:
    group: Any = typer.main.get_command(app)
    assert not without & {option.name for option in group.commands[command].params}
    assert not without & dags[dag_id].params.keys()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--slice-rows", "2000000"],
        ["run", "--stop-at-share", "0"],
        ["run", "--stop-at-share", "1.5"],
        ["run", "--sample", "5"],
        ["replay", "--stop-at-share", "0"],
        ["verify", "--sample-share", "0"],
        ["verify", "--seed", str(2**31)],
    ],
    ids=" ".join,
)
def test_a_value_out_of_bounds_is_told_in_plain_words(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)
    assert "--" + arguments[1].strip("-") in result.stderr or "OptionError" in result.stderr


def test_an_unknown_name_is_told_with_the_nearest_known_one() -> None:
    with pytest.raises(OptionError, match=r"no option dryrun\..*Did you mean dry_run\?"):
        read_options(RunOptions, {"dryrun": True})
    with pytest.raises(OptionError, match=r"no option unit\..*Did you mean units\?"):
        refuse_unknown(["unit"], ["units", "entities"])
    with pytest.raises(OptionError, match=r"no option colour\. What to do: The options are run\."):
        refuse_unknown(["colour"], ["run"])
    refuse_unknown(["run"], ["run"])
