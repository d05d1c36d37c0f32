"""The one canonical text of a source key, for identifiers, references, manifest, replays, checks and verification.

Nothing is trimmed, folded or cut: two keys that a database tells apart are two texts. The text of several columns is
that of each, joined by a slash; a slash or backslash of their own is escaped by a backslash, so that no two keys meet.
"""

from __future__ import annotations

import base64
import hashlib
import math
from decimal import Decimal
from enum import StrEnum
from typing import Any

from medferry.source.types.canonical import base64_of

MAX_KEY_BYTES = 1_000
"""The longest key that the manifest keeps, in UTF-8: with the columns beside it, what PostgreSQL's indexes take."""

EXACT_FLOATS = 2**53
"""Below it a float stands for one integer."""
SMALL_FLOATS = "0.0001"
"""Below it the text of a float has an exponent."""
INEXACT = "inexact:"
"""Begins the text of a float that stands for several integers. A trigger writes it alone where it is not sure of the
text of a float: then everything of the entity may have changed.
"""
_SEPARATOR = "/"
_ESCAPED = "not-text:"
"""Begins the ledger's name of a key that cannot stand in the manifest as it is."""


class KeyFault(StrEnum):
    """Why a key cannot name a record. The reason of the row, and of a row that refers to such a key."""

    MISSING = "key-missing"
    BLANK = "key-blank"
    INEXACT = "key-inexact"
    """A float from 2⁵³ on (or NaN, infinity): several integers are equal to it."""
    NUL = "key-with-nul"
    UNDECODABLE = "key-undecodable"
    RESERVED = "key-reserved"
    """It begins as Medferry's own names of such keys do."""
    TOO_LONG = "key-too-long"


def key_text(value: Any) -> str | None:
    """The canonical text of a key, given as a driver or a staged row has it; None for null.

    Several values, as a list or tuple, are one key of several columns, and null when any of them is.
    """
    if not isinstance(value, (list, tuple)):
        return _single_text(value)
    if len(value) == 1:
        return _single_text(value[0])
    parts = [_single_text(part) for part in value]
    if any(part is None for part in parts):
        return None
    return _SEPARATOR.join(_escaped(part) for part in parts if part is not None)


def parts_of(key: str, columns: int) -> list[str] | None:
    """The texts of the columns of a canonical key; None when it is none of that many columns."""
    if columns == 1:
        return [key]
    parts, current, characters = list[str](), "", iter(key)
    for character in characters:
        if character == _SEPARATOR:
            parts.append(current)
            current = ""
        else:
            current += next(characters, "") if character == "\\" else character
    parts.append(current)
    return parts if len(parts) == columns else None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(_SEPARATOR, "\\" + _SEPARATOR)


def _single_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"  # as an engine writes it
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    return base64_of(value) or str(value)


def _float_text(value: float) -> str:
    """1.0 names what 1 names: a foreign key is often a float where there are nulls."""
    if not math.isfinite(value) or abs(value) >= EXACT_FLOATS:
        return f"{INEXACT}{value!r}"
    return str(int(value)) if value.is_integer() else repr(value)


def fault_of(key: str | None) -> KeyFault | None:
    """Why a canonical key cannot name a record; None when it can."""
    if key is None:
        return KeyFault.MISSING
    if not key.strip():
        return KeyFault.BLANK
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        return KeyFault.UNDECODABLE
    if "\0" in key:
        return KeyFault.NUL
    if key.startswith((INEXACT, _ESCAPED)):
        return KeyFault.INEXACT if key.startswith(INEXACT) else KeyFault.RESERVED
    return KeyFault.TOO_LONG if size > MAX_KEY_BYTES else None


def ledger_key(key: str | None) -> str:
    """The text under which the manifest keeps a record: its key, or an escape of one that has a fault.

    The escape has the key's bytes in hexadecimal (undecodable ones come as lone surrogates); of many, their SHA-256.
    """
    if key is not None and fault_of(key) is None:
        return key
    raw = (key or "").encode("utf-8", "surrogateescape")
    text = raw.hex() if len(raw) <= MAX_KEY_BYTES // 4 else f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return _ESCAPED + text


def is_escaped(text: str) -> bool:
    """Whether a text of the manifest is the escape of a key that has a fault."""
    return text.startswith(_ESCAPED)


def unit_text(value: Any) -> str:
    """The text of a business unit; the padding of a CHAR column, which no plan can name, is cut."""
    return str(key_text(value)).rstrip(" ")
