"""Read a plan and say where it is wrong: file, line, remedy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from medferry.errors import DefinitionError
from medferry.plan.model import Plan

Model = TypeVar("Model", bound=BaseModel)

_Fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same, some ten times faster where libyaml is there."""


class _StandsTwice(yaml.MarkedYAMLError):
    """A name stands twice in one place. YAML would take the last, and lose what the first says without a word."""


class _Loader(_Fast):  # type: ignore[misc]
    """Refuses a name that stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (name := (key.tag, key.value)) in names:
                raise _StandsTwice(problem=key.value, problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                names.add(name)
        return super().construct_mapping(node, deep)


_TextDates: Any = type(
    "_TextDates",
    (_Loader,),
    {
        "yaml_implicit_resolvers": {
            first: [(tag, form) for tag, form in pairs if tag != "tag:yaml.org,2002:timestamp"]
            for first, pairs in _Loader.yaml_implicit_resolvers.items()
        }
    },
)
"""Leaves dates the text that they are, whether the calendar has them or not."""


def load_plan(path: Path) -> Plan:
    """Read `path` as a Plan. Raises DefinitionError that names every fault."""
    if not path.is_file():
        raise DefinitionError(path, None, "there is no plan.", "Write plan.yaml in the migration's folder.")
    return load_model(path, Plan)


def load_model(path: Path, model: type[Model], dates_as_text: bool = False) -> Model:
    """Read a YAML file as `model`. Raises DefinitionError that names every fault, the first by its line in front."""
    data = load_yaml(path, dates_as_text)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = [_fault(path, one, model) for one in error.errors(include_url=False)]
        line, problem = faults[0]
        others = "".join(f"\n  {path.name}:{line}: {text}" for line, text in faults[1:])
        remedy = f"Correct {path.name}." if len(faults) == 1 else f"Correct these {len(faults)} places."
        raise DefinitionError(path, line, problem + others, remedy) from error


def load_yaml(path: Path, dates_as_text: bool = False) -> Any:
    """What a YAML file holds, not judged any further. Raises DefinitionError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DefinitionError(path, None, "it is not UTF-8.", "Save it as UTF-8.") from None
    try:
        return yaml.load(text, Loader=_TextDates if dates_as_text else _Loader)
    except _StandsTwice as error:
        assert error.problem_mark is not None
        problem = f"{error.problem} stands twice: what one of them says would be lost."
        raise DefinitionError(path, error.problem_mark.line + 1, problem, "Make one of both.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        at = text.split("\n")[line - 1 : line] if line else []  # none of what is missing behind the last line
        if any("\t" in each for each in at):
            problem, remedy = "there is a tab; YAML is indented by spaces alone.", "Put spaces in its place."
        else:
            problem, remedy = "this is not valid YAML.", "Check indentation, colons, quotes."
        raise DefinitionError(path, line, problem, remedy) from error
    except ValueError as error:  # of a date such as 2024-02-30, which YAML makes a date of
        problem, remedy = f"one of its dates is none ({error}).", "Correct it, or put it in quotes where it is a text."
        raise DefinitionError(path, None, problem, remedy) from error


def _fault(path: Path, fault: Any, model: type[BaseModel]) -> tuple[int | None, str]:
    """(line, what is wrong there) of one of pydantic's findings."""
    place = ".".join(str(step) for step in fault["loc"]) or f"the {model.__name__.casefold()}"
    text = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_type" and isinstance(fault["input"], int | float | bool | date):
        text = f"must be text, and YAML reads {fault['input']} as {_KINDS[type(fault['input'])]}: put it in quotes"
    elif fault["type"] == "extra_forbidden":
        text = "there is no such setting" + _nearest(str(fault["loc"][-1]), _settings(model))
    elif fault["type"] == "missing":
        text = "is missing"
    elif fault["type"] in ("model_type", "dict_type"):
        text = f"must hold settings, each as 'name: value', and {_HELD.get(type(fault['input']), 'is a text')}"
    return line_of(path, fault["loc"]), f"{place}: {text}."


_HELD = {type(None): "is empty", list: "is a list"}
_KINDS = {int: "a number", float: "a number", bool: "a truth value", date: "a date", datetime: "a time"}


def _settings(model: type[BaseModel]) -> set[str]:
    """Every name that a file of this model may hold, at whatever depth."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(field.alias or name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= _settings(part)
    return found


def _nearest(name: str, known: set[str]) -> str:
    if name in known:
        return " here"
    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def line_of(path: Path, steps: Iterable[int | str]) -> int | None:
    """The line (from 1) of the deepest node along `steps` in a YAML file; None when the file is empty."""
    node: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    for step in steps:
        below = _child(node, step)
        if below is None:
            break
        node = below
    return node.start_mark.line + 1 if node is not None else None


def _child(node: Any, step: int | str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]
    return None
