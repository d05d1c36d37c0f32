"""Why a legacy database refuses a change, by its error's code: never by a text, which may quote a value."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.exc import DBAPIError

from medferry.errors import MedferryError


class RowConflict(MedferryError):
    """The row is not what the changes were made from, or gone, or held locked by somebody else.

    Nothing was written; read it again and decide anew.
    """


class WriteRefused(MedferryError):
    """The legacy database does not take the change, or would keep another value. Nothing was written."""


class WriterBlocked(WriteRefused):
    """The account may not write, or the schema is another: no row of the entity can be written. Nothing was."""


RIGHTS = (
    "gives no right to write",
    "Grant the writing account SELECT, INSERT, UPDATE and DELETE on the inverse's tables.",
)
SCHEMA = ("has another schema than the definition", "Run `medferry plan check`, and correct the inverse's tables.")
_VALUE = ("has no room for a value", "Give the inverse the column's bounds (longest, whole, required).")
_REASONS: dict[str | int, tuple[str, str]] = {
    **dict.fromkeys(("42501", 1044, 1142, 1143), RIGHTS),
    **dict.fromkeys(("42703", "42P01", 1054, 1146), SCHEMA),
    **dict.fromkeys(("22001", "22003", "22007", "22008", "22P02", "23502", "23505", "23514"), _VALUE),
    **dict.fromkeys((1048, 1062, 1264, 1364, 1265, 1292, 1366, 1406, 4025), _VALUE),
}
"""By SQLSTATE, or the server's error number."""


def why_refused(error: DBAPIError) -> tuple[str, str]:
    """Why the database refuses a change, and what to do. Quotes nothing of it."""
    state: Any = getattr(error.orig, "sqlstate", None)
    number = error.orig.args[0] if error.orig and error.orig.args else None
    if isinstance(number, str) and re.match(r"no such (column|table)|table \S+ has no column named", number):
        return SCHEMA
    if isinstance(number, str) and "constraint failed" in number:
        return _VALUE
    known = _REASONS.get(state) or (_REASONS.get(number) if isinstance(number, int) else None)
    return known or ("refused a change", "Try it by hand with the writing account.")
