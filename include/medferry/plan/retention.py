"""For how long patient data is kept beside the systems."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema


def _days(value: object) -> object:
    """A number of days, from such texts as ``7 days``."""
    found = re.fullmatch(r"(\d+) days?", value.strip()) if isinstance(value, str) else None
    return int(found[1]) if found else value


_AS_WRITTEN = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+ days?$"}]}
Days = Annotated[int, BeforeValidator(_days), Field(ge=0, le=36_500), WithJsonSchema(_AS_WRITTEN)]


class Retention(BaseModel):
    """For how many days patient data is kept that no run needs any more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    staged: Days = 0
    """Rows that were transformed, Bundles of runs that are proven or over. 0: they go at once."""
    charts: Days = 30
    """Charts drawn for review, since they were drawn; ``medferry purge`` removes them."""
    conflicts: Days = 30
    """Values of conflicts that were applied, or that newer ones have superseded, since then."""
