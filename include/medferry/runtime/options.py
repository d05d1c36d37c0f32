"""What an operator may choose when starting a run.

The fields of an options model are the only declaration of their options: name, type, bounds, default and description.
The command line (``cli/flags.py``) and Airflow's trigger form (``medferry_airflow/params.py``) are made from them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medferry.errors import OptionError

Options = TypeVar("Options", bound=BaseModel)


class LoadMode(StrEnum):
    """How targets are written."""

    LOOKUP = "lookup"
    """Look up, create the missing, update the known by id: for a writer that alone owns its keys."""
    CONDITIONAL = "conditional"
    """As lookup, with conditional creates: slower, for keys that others create too."""


class ControlAction(StrEnum):
    """What an operator may ask for, by the operator's word."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


class RunOptions(BaseModel):
    """Options of one run; kept with it in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dry_run: bool = Field(False, description="Read, transform and judge everything, but write nothing to Medplum.")
    batch_size: Annotated[
        int, Field(ge=1, le=1_000, description="How many resources go to Medplum in one request (a FHIR batch).")
    ] = 200
    lanes: Annotated[
        int, Field(ge=1, le=16, description="How many such requests each process may have under way at once.")
    ] = 4
    load_mode: LoadMode = Field(
        LoadMode.LOOKUP, description="lookup; conditional, which is slower, where others create the same records."
    )
    sample: Annotated[
        int | None,
        Field(ge=1, description="Only this many rows of each slice, in a dry run; references are not judged then."),
    ] = None
    slice_rows: Annotated[
        int, Field(ge=1, le=1_000_000, description="How many rows a slice has at most; slices go side by side.")
    ] = 5_000
    stop_at_share: Annotated[
        float,
        Field(gt=0, le=1, description="Stop a slice when this share of its rows fails for one reason; 1: never."),
    ] = 0.5
    reserve_points: Annotated[
        int, Field(ge=0, description="Points of Medplum's quota a minute that are left for the people who work in it.")
    ] = 0
    overwrite: bool = Field(
        False, description="Write the legacy content even over what people have changed in Medplum since the load."
    )
    take_over: bool = Field(
        False, description="Take units and entities over from a run that has died and still holds them."
    )
    wait_minutes: Annotated[
        int,
        Field(ge=0, le=1_440, description="Wait so many minutes for a run that holds the same units; 0: be refused."),
    ] = 0

    @model_validator(mode="after")
    def _sample_writes_nothing(self) -> Self:
        if self.sample is not None and not self.dry_run:
            raise ValueError("a sample is for a dry run, since loading it would leave references without their targets")
        return self


NOT_IN_REPLAY = frozenset({"sample"})
"""The fields of RunOptions that a replay does not have: it is for exactly its rows."""


def read_options(model: type[Options], given: Mapping[str, Any]) -> Options:
    """The options of `model` with the `given` values. Raises OptionError naming the first that is unknown or wrong."""
    refuse_unknown(given, model.model_fields)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(step) for step in first["loc"]) or "options"
    raise OptionError(f"{name}: {first['msg'].removeprefix('Value error, ')}.", "Correct it and start again.")


def refuse_unknown(given: Collection[str], known: Collection[str]) -> None:
    """Raise OptionError naming a `given` name that is not `known`, and the known name nearest to it."""
    unknown = next((name for name in given if name not in known), None)
    if unknown is None:
        return
    near = get_close_matches(unknown, sorted(known), n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise OptionError(f"There is no option {unknown}.", f"{hint}The options are {', '.join(sorted(known)) or 'none'}.")


def schema_of(model: type[BaseModel], name: str) -> dict[str, Any]:
    """Type and bounds of a field as JSON Schema, flat: ``{"type": ["null", "integer"], "minimum": 1}``."""
    whole = _schema(model)
    field = whole["properties"][name]
    if reference := field.get("$ref"):
        field = whole["$defs"][reference.rpartition("/")[2]]
    if either := field.get("anyOf"):
        field = next(choice for choice in either if choice["type"] != "null")
        field = {**field, "type": ["null", field["type"]]}
    return {keyword: value for keyword, value in field.items() if keyword not in ("title", "description", "default")}


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def kept_options(kept: Mapping[str, Any]) -> RunOptions:
    """The options of a run as the manifest keeps them.

    Earlier versions had a mode "asynchronous", which was `lookup` sent in another way: such a run goes on as `lookup`.
    """
    if kept.get("load_mode") == "asynchronous":
        kept = {**kept, "load_mode": LoadMode.LOOKUP}
    return RunOptions.model_validate(kept)
