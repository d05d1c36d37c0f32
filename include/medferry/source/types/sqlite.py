"""SQLite: a value has a type, a column has none, so that each value is read as what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medferry.source.types.canonical import Canonical, Column, SourceType, binary, finite

TYPES: Mapping[type, SourceType] = {
    type(None): SourceType("NULL", Canonical.NULL, "also what a calculation makes of NaN"),
    int: SourceType("INTEGER", Canonical.INTEGER, "dates and booleans have no type of their own"),
    float: SourceType("REAL", Canonical.FLOAT, "the shortest digits that are the same number"),
    str: SourceType("TEXT", Canonical.TEXT, "bytes that are no UTF-8 arrive as lone surrogates"),
    bytes: SourceType("BLOB", Canonical.BYTES),
}
"""By the driver's type: one for each storage class of the engine."""


def keep_text(connection: Any) -> None:
    """Tolerate text that is not UTF-8."""
    connection.text_factory = _tolerant


def _tolerant(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def columns(names: Sequence[str]) -> list[Column]:
    return [Column(name, _convert) for name in names]


def _convert(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int:
        return value
    return binary(value) if kind is bytes else finite(value)
