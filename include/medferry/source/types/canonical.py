"""The values of a row: what JSON can hold, one form for each kind of value, and nothing that changes in between."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

BASE64 = "base64"
"""The one name in the object that stands for bytes."""

Convert = Callable[[Any], Any]
"""From a value that the driver gives, never None, to the one that a row holds."""


class Canonical(StrEnum):
    """What a value of a row is, in the words of docs/types.md."""

    NULL = "null"
    BOOLEAN = "true or false"
    INTEGER = "integer"
    DECIMAL = "text of an exact decimal"
    FLOAT = "number; `NaN`, `Infinity` and `-Infinity` as text"
    TEXT = "text"
    DATE = "text of a date, `YYYY-MM-DD`"
    LOCAL_TIME = "text of a wall time, `YYYY-MM-DD HH:MM:SS`, with as much of a fraction as there is"
    INSTANT = "text of an instant with its offset, in UTC: `YYYY-MM-DD HH:MM:SS+00`"
    TIME = "text of a time of day"
    INTERVAL = "text of a span of time"
    BYTES = 'bytes: `{"base64": "…"}`'
    JSON = "text of the JSON"
    AS_PRINTED = "text, as the engine prints it"


@dataclass(frozen=True, slots=True)
class SourceType:
    """One row of a table: the type's SQL name, what arrives, and what a mapping's author must know of it."""

    name: str
    canonical: Canonical
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: `convert` is None where the driver's value is the row's."""

    name: str
    convert: Convert | None = None


class Binary(dict[str, str]):
    """Bytes as a row holds them: an object, so that nobody takes base64 for the text that a column may hold.

    ``str`` gives the base64, the text of a key; to be put into another text it refuses.
    """

    def __str__(self) -> str:
        return self[BASE64]

    def __format__(self, format_spec: str) -> str:
        raise TypeError("bytes are no text: see Context.base64")


def binary(value: bytes) -> Binary:
    return Binary({BASE64: base64.b64encode(value).decode("ascii")})


def as_streamed(row: Any) -> Any:
    """A row that was read back from JSON, its bytes as ``binary`` made them."""
    if not isinstance(row, dict):
        return row
    return {name: Binary(value) if isinstance(value, dict) else value for name, value in row.items()}


def base64_of(value: Any) -> str | None:
    """The base64 of bytes in a row, None for any other value."""
    return value[BASE64] if isinstance(value, dict) and value.keys() == {BASE64} else None


def finite(value: float) -> float | str:
    """A float; JSON has no number for what is none, and null would be another value."""
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def single_precision(value: Any) -> float:
    """The shortest digits that are the same number in 32 bits: 0.1 instead of 0.10000000149011612."""
    number = float(value)
    packed = struct.pack("f", number)
    for digits in range(6, 9):
        shorter = float(f"{number:.{digits}g}")
        if struct.pack("f", shorter) == packed:
            return shorter
    return float(f"{number:.9g}")
