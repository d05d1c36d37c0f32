"""The trigger form: typed Params, made from the plan and from the models that declare the options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow.sdk import Param
from pydantic import BaseModel

from medferry.definition.outline import Outline
from medferry.definition.reasons import dead_reasons
from medferry.runtime.options import (
    NOT_IN_REPLAY,
    ControlAction,
    LoadMode,
    Options,
    RunOptions,
    read_options,
    schema_of,
)
from medferry.verification.options import VerifyOptions
from medferry_airflow.definition import Served

SELDOM = "Seldom needed"
"""Airflow has a section of its own below, which it calls Advanced Options."""
_PLAIN = ("dry_run", "sample")
"""Options of every day; the others stand in the section of those that are seldom needed."""

_LOAD_MODES = {
    LoadMode.LOOKUP.value: "Look up, then create or update (only Medferry writes these records)",
    LoadMode.CONDITIONAL.value: "Conditional creates (others create the same records; slower)",
}


NAME_OF_RUN = "Its id as the page Medferry (or `medferry runs`) shows it, or the id of its DAG run in Airflow."


def unit_param(migration: Outline) -> dict[str, Param]:
    """The choice of units, shown by their titles."""
    units = {unit.id: f"{unit.title} ({unit.id})" for unit in migration.plan.units if not unit.shared}
    return {
        "units": _choice(units, "Business units to migrate. Empty: all. Shared units always go with them.", "Units")
    }


def run_params(migration: Outline) -> dict[str, Param]:
    """The choice of entities, and every option of a run."""
    entities = {name: migration.titles[name] for level in migration.levels for name in level}
    options = option_params(RunOptions, _PLAIN)
    plain = {name: options.pop(name) for name in _PLAIN}
    choice = _choice(entities, "Source entities to migrate. Empty: all.", "Entities", SELDOM)
    return {**plain, "entities": choice, **options}


def history_params(migration: Outline) -> dict[str, Param]:
    """The choice of entities, and the options of a run of a period."""
    return {name: param for name, param in run_params(migration).items() if name not in NOT_IN_REPLAY}


def replay_params(served: Served) -> dict[str, Param]:
    """The choice of dead letters, and the options of a replay."""
    description = f"The run whose dead letters are run again. {NAME_OF_RUN} Empty: the newest run that has any."
    reason = {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"}
    reasons = "Only dead letters with these reasons. Empty: all. A reason of a mapping's own is named in the conf."
    known = [str(one) for one in dead_reasons(served.folder)]
    options = {name: param for name, param in run_params(served.outline).items() if name not in NOT_IN_REPLAY}
    return {
        "run": Param(None, type=["null", "string"], title="Run", description=description),
        "reasons": Param(
            None, type=["null", "array"], items=reason, examples=known, title="Reasons", description=reasons
        ),
        **options,
    }


def verify_params() -> dict[str, Param]:
    """The choice of a run, and every option of a verification."""
    description = f"A run that is finished. {NAME_OF_RUN} Empty: everything that has been loaded, as it is now."
    run = Param(None, type=["null", "string"], title="Run", description=description)
    return {"run": run, **option_params(VerifyOptions, VerifyOptions.model_fields)}


def control_params() -> dict[str, Param]:
    """The run at work, and what it is to do."""
    description = f"The run at work. {NAME_OF_RUN} May be empty where only one is at work."
    return {
        "run": Param(None, type=["null", "string"], title="Run", description=description),
        "action": Param(
            ControlAction.PAUSE.value,
            type="string",
            enum=sorted(action.value for action in ControlAction),
            title="Action",
            description="pause: the run finishes what is in its hands, and waits. resume: a paused run goes on. "
            "abort: it finishes what is in its hands, and ends; a new run goes on from there.",
        ),
    }


def panic_params() -> dict[str, Param]:
    """Who stops everything, and why; or lifts it."""
    return {
        "person": Param(
            type="string", minLength=1, title="Person", description="The name of who answers for it; it is kept."
        ),
        "reason": Param(
            type="string", minLength=8, title="Reason", description="Why, in a sentence, without patient data."
        ),
        "lift": Param(
            False,
            type="boolean",
            title="Lift",
            description="On: the stop is lifted, and writing may begin again. It starts nothing by itself.",
        ),
    }


def options_among(params: Mapping[str, Any], model: type[Options]) -> Options:
    """The options of `model` among a DAG run's params. Raises OptionError when they do not go together."""
    return read_options(model, {name: params[name] for name in model.model_fields if name in params})


def option_params(model: type[BaseModel], plain: Collection[str]) -> dict[str, Param]:
    """A Param for each field of `model`, with its type, bounds, default and description.

    Those not in `plain` stand in the section of those that are seldom needed.
    """
    return {name: _option(model, name, None if name in plain else SELDOM) for name in model.model_fields}


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


def _option(model: type[BaseModel], name: str, section: str | None) -> Param:
    field = model.model_fields[name]
    shown = {"values_display": _LOAD_MODES} if name == "load_mode" else {}
    title = name.replace("_", " ").capitalize()
    keywords = {**schema_of(model, name), **shown, **_in(section)}
    return Param(field.default, title=title, description=field.description, **keywords)


def _in(section: str | None) -> dict[str, Any]:
    return {"section": section} if section else {}
