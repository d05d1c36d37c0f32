"""The trigger form: typed Params of a run, from the plan and from ``RunOptions``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Param
from pydantic import ValidationError

from medferry.definition.migration import Migration
from medferry.errors import SettingsError
from medferry.runtime.options import RunOptions

ADVANCED = "Advanced"
_PLAIN = ("dry_run", "sample")
"""Options of every day; the others stand in the section Advanced."""

_LOAD_MODES = {
    "lookup": "Look up, then create or update (only Medferry writes these records)",
    "conditional": "Conditional updates (others write the same records; slower)",
    "asynchronous": "Asynchronous batches (spare the points quota; not faster)",
}


def unit_param(migration: Migration) -> dict[str, Param]:
    """The choice of units, shown by their titles."""
    units = {unit.id: f"{unit.title} ({unit.id})" for unit in migration.plan.units if not unit.shared}
    return {
        "units": _choice(units, "Business units to migrate. Empty: all. Shared units always go with them.", "Units")
    }


def run_params(migration: Migration) -> dict[str, Param]:
    """The choice of entities, and every option of a run with its type, bounds, default and description."""
    entities = {name: migration.entities[name].title for level in migration.levels for name in level}
    schema = RunOptions.model_json_schema()
    names = sorted(schema["properties"], key=lambda name: name not in _PLAIN)
    options = {name: _option(name, schema["properties"][name], schema["$defs"]) for name in names}
    plain = {name: options[name] for name in _PLAIN}
    return {
        **plain,
        "entities": _choice(entities, "Source entities to migrate. Empty: all.", "Entities", ADVANCED),
        **{name: param for name, param in options.items() if name not in plain},
    }


def replay_params(migration: Migration) -> dict[str, Param]:
    """The choice of dead letters, and the options of a run but for the sample: a replay is for exactly its rows."""
    of = "Id of the run whose dead letters are run again. Empty: the newest."
    reason = {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"}
    told = "Only dead letters of these reasons, one a line (`impossible-date`, …). Empty: all."
    usual = {name: param for name, param in run_params(migration).items() if name != "sample"}
    return {
        "run": Param(None, type=["null", "string"], title="Run", description=of),
        "reasons": Param(None, type=["null", "array"], items=reason, title="Reasons", description=told),
        **usual,
    }


def run_options(params: Mapping[str, Any]) -> RunOptions:
    """The options among a run's params. Raises SettingsError when they do not go together."""
    try:
        return RunOptions.model_validate({name: params[name] for name in RunOptions.model_fields if name in params})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise SettingsError(f"{where or 'The options'}: {first['msg']}.", "Trigger again with other params.") from None


def _choice(values: Mapping[str, str], description: str, title: str, section: str | None = None) -> Param:
    """Any number of `values` (id → label): the form lists the ``examples``, the API checks the ``items``."""
    ids: list[str] = list(values)
    return Param(
        None,
        type=["null", "array"],
        items={"type": "string", "enum": ids},
        examples=ids,
        values_display=dict(values),
        title=title,
        description=description,
        **_in(section),
    )


def _option(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Param:
    default = schema["default"]
    described = {"title": name.replace("_", " ").capitalize(), "description": schema["description"]}
    extra = {"values_display": _LOAD_MODES} if name == "load_mode" else {}
    return Param(
        default, **{**_type_of(schema, definitions), **described, **extra, **_in(None if name in _PLAIN else ADVANCED)}
    )


def _type_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema keywords of a field in the flat form that the trigger form understands."""
    if reference := schema.get("$ref"):
        return _keywords(definitions[reference.rpartition("/")[2]])
    if either := schema.get("anyOf"):
        chosen = next(one for one in either if one["type"] != "null")
        return {**_keywords(chosen), "type": ["null", chosen["type"]]}
    return _keywords(schema)


def _keywords(
    schema: Mapping[str, Any], names: Iterable[str] = ("type", "enum", "minimum", "maximum")
) -> dict[str, Any]:
    return {name: schema[name] for name in names if name in schema}


def _in(section: str | None) -> dict[str, Any]:
    return {"section": section} if section else {}
