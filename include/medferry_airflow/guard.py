"""Keep patient data out of Airflow: what a task raises is stored and shown, and a driver's text may quote a row."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from airflow.sdk.exceptions import AirflowException

from medferry.errors import MedferryError

_OWN_CODE = Path(__file__).resolve().parent.parent

P = ParamSpec("P")
R = TypeVar("R")


class UnexpectedError(MedferryError):
    """A fault that nobody foresaw, told by its type and place only."""


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """Let `function` raise only Medferry's and Airflow's own errors, with no other exception chained to them."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except AirflowException:
            raise
        except Exception as error:  # noqa: BLE001 -- the very purpose
            safe = _safe(error)
        # Raised outside the handler, so that the first error is not even its context.
        raise safe

    return call


def _safe(error: Exception) -> MedferryError:
    if isinstance(error, MedferryError):
        error.__cause__ = error.__context__ = None
        return error
    return UnexpectedError(
        f"{type(error).__module__}.{type(error).__qualname__} at {place(error)}.",
        "Its text is withheld: it may quote a record. Reproduce it with `medferry` on the same slice.",
    )


def place(error: BaseException) -> str:
    """File, line and function of the fault, and of the Medferry code that led there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_OWN_CODE)]
    told = dict.fromkeys(f"{Path(f.filename).name}:{f.lineno} in {f.name}" for f in [frames[-1], *own[-1:]])
    return ", called from ".join(told)
