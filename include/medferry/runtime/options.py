"""What an operator may choose when starting a run. The same names in the trigger form and on the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LoadMode(StrEnum):
    """How targets are written."""

    LOOKUP = "lookup"
    """Look up, create the missing, update the known by id: for a writer that alone owns its keys."""
    CONDITIONAL = "conditional"
    """Conditional updates: slower, for keys that others write too."""
    ASYNCHRONOUS = "asynchronous"
    """As lookup, in asynchronous batches: spares the points quota, not time."""


class RunOptions(BaseModel):
    """Options of one run; kept with it in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dry_run: bool = Field(False, description="Extract and transform only; write nothing to Medplum.")
    batch_size: Annotated[int, Field(ge=1, le=1_000, description="Entries a FHIR batch.")] = 200
    lanes: Annotated[int, Field(ge=1, le=16, description="Batches in flight at once, at most, per task.")] = 4
    load_mode: LoadMode = Field(
        LoadMode.LOOKUP,
        description="lookup; conditional where others write the same keys; asynchronous to spare the quota.",
    )
    sample: Annotated[int | None, Field(ge=1, description="Rows of each slice; needs dry_run.")] = None
    slice_rows: Annotated[int, Field(ge=1, le=1_000_000, description="Rows a slice at most.")] = 5_000
    stop_at_share: Annotated[
        float, Field(gt=0, le=1, description="Stop a slice when so large a share fails for one reason; 1: never.")
    ] = 0.5
    reserve_points: Annotated[int, Field(ge=0, description="Quota points left for live users.")] = 0
    overwrite: bool = Field(
        False, description="Write the legacy content even over resources that were changed in Medplum since the load."
    )
    take_over: bool = Field(False, description="Take the scope from a dead run that still holds its lease.")

    @model_validator(mode="after")
    def _sample_writes_nothing(self) -> Self:
        if self.sample is not None and not self.dry_run:
            raise ValueError("a sample is for a dry run: loading it would leave references without their targets")
        return self
