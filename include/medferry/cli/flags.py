"""Command-line options made from the fields of an options model, where each option is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from medferry.runtime.options import read_options, schema_of

R = TypeVar("R")

_CONTEXT = "click_context"
"""The parameter by which Typer hands over the call, which knows what was given."""


def with_options(
    model: type[BaseModel], without: Collection[str] = (), flags: Mapping[str, tuple[str, ...]] | None = None
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command an option for each field of `model`, in the place of its keyword parameter `options`.

    The command gets them as a `model` in which those are set that were given, or is not called: OptionError says which
    value is wrong. `without` names fields that the command does not offer, `flags` (field → flags) other names than
    ``--the-field``.
    """
    names = [name for name in model.model_fields if name not in without]

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def call(**given: Any) -> R:
            context: typer.Context = given.pop(_CONTEXT)
            values = {name: given.pop(name) for name in names}
            options = read_options(model, {name: values[name] for name in names if _was_given(context, name)})
            return command(**given, options=options)

        offered = [_parameter(model, name, (flags or {}).get(name, ())) for name in names]
        signature = inspect.signature(command, eval_str=True)
        parameters = [
            found.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in signature.parameters.values()
            for found in (offered if parameter.name == "options" else [parameter])
        ]
        parameters.append(inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether the value of a parameter of the command is not its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _parameter(model: type[BaseModel], name: str, flags: tuple[str, ...]) -> inspect.Parameter:
    """The parameter from which Typer makes the option of one field."""
    field, schema = model.model_fields[name], schema_of(model, name)
    interval = _open_interval(schema)
    option = typer.Option(
        *flags,
        help=field.description,
        min=None if interval else schema.get("minimum"),
        max=None if interval else schema.get("maximum"),
        metavar=f"<float range> [{interval}]" if interval else None,
    )
    annotation = Annotated[field.annotation, option]  # type: ignore[name-defined]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)


def _open_interval(schema: Mapping[str, Any]) -> str:
    """``0<x<=1`` when a bound does not belong to the range, else empty: Typer knows closed ranges only.

    The help shows it, and `read_options` refuses what is not in it.
    """
    if not schema.keys() & {"exclusiveMinimum", "exclusiveMaximum"}:
        return ""
    signs = (("minimum", "{}<=x"), ("exclusiveMinimum", "{}<x"), ("maximum", "<={}"), ("exclusiveMaximum", "<{}"))
    return "".join(sign.format(schema[keyword]) for keyword, sign in signs if keyword in schema)
