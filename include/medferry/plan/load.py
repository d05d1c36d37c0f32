"""Read a plan and say where it is wrong: file, line, remedy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from medferry.errors import DefinitionError
from medferry.plan.model import Plan

Model = TypeVar("Model", bound=BaseModel)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same, some ten times faster where libyaml is there."""


def load_plan(path: Path) -> Plan:
    """Read `path` as a Plan. Raises DefinitionError with the line of the first fault."""
    if not path.is_file():
        raise DefinitionError(path, None, "there is no plan.", "Write plan.yaml in the migration's folder.")
    return load_model(path, Plan)


def load_model(path: Path, model: type[Model]) -> Model:
    """Read a YAML file as `model`. Raises DefinitionError with the line of the first fault."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise DefinitionError(path, line, "this is not valid YAML.", "Check indentation, colons, quotes.") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or f"the {model.__name__.casefold()}"
        problem = f"{place}: {first['msg']} ({error.error_count()} fault(s) in all)."
        raise DefinitionError(path, line_of(path, first["loc"]), problem, f"Correct {path.name}.") from error


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
