"""The plan as JSON Schema, for editors: completion, descriptions, faults while it is written."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from medferry.plan import authority, model, retention, sections
from medferry.plan.model import Plan


def plan_schema() -> str:
    """docs/plan.schema.json as it must be. What spans several settings, only `plan check` sees."""
    schema = Plan.model_json_schema(by_alias=True)
    modules = (authority, retention, sections, model)
    kinds = {name: kind for module in modules for name, kind in vars(module).items() if _is_model(kind)}
    for name, definition in {**schema["$defs"], "Plan": schema}.items():
        for setting, said in _told(kinds[name]) if name in kinds else ():
            definition["properties"].get(setting, {}).setdefault("description", said)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _told(kind: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """(setting as it is written in a plan, what the text below it says), as read in the source.

    Pydantic does so, too (`use_attribute_docstrings`), but whenever a plan's module is imported: half of what the plan
    costs a DAG file.
    """
    for each in kind.__mro__:
        if not _is_model(each) or each is BaseModel:
            continue
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in pairwise(tree.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    yield kind.model_fields[name].alias or name, inspect.cleandoc(text)
