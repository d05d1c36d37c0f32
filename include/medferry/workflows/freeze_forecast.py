"""What a cutover notes of its freeze before it begins, so that the forecast can be scored when it is over."""

from __future__ import annotations

from math import isfinite

from sqlalchemy.exc import SQLAlchemyError

from medferry.errors import MedferryError
from medferry.manifest.freezes import BY_STAGES, FORECAST
from medferry.runtime.environment import Environment
from medferry.workflows.readiness_facts import Facts


def noted_forecast(environment: Environment, wave_id: str, by_stages: bool) -> dict[str, object]:
    """For the notes of an attempt that begins: how it is done, and its forecast where one can be made. Reads only."""
    way: dict[str, object] = {BY_STAGES: by_stages}
    try:
        total = Facts(environment, wave_id, by_stages).forecast[-1]
    except (MedferryError, SQLAlchemyError):  # what keeps it from being told keeps nobody from moving
        return way
    seconds = (total.low, total.probable, total.high)
    return way | ({FORECAST: [round(each, 3) for each in seconds]} if all(map(isfinite, seconds)) else {})
