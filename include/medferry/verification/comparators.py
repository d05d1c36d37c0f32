"""What "equal" means for one value: pure functions from a legacy value and what the resource holds to a verdict.

A verdict is None when they are equal, else the kind of the difference, a constant without data. A legacy value that
cannot be understood raises Unreadable: then nothing was compared.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from medferry.source.types.canonical import base64_of
from medferry.verification import times
from medferry.verification.case import (
    DIFFERENT,
    MISSING,
    SEVERAL,
    UNEXPECTED,
    Case,
    Unreadable,
    decimal_of,
    plain,
    referred_key,
    single,
)
from medferry.verification.units import converted

_CODE = re.compile(r"\S+(\s\S+)*")
_UCUM = "http://unitsofmeasure.org"


def compare(case: Case) -> str | None:
    """The verdict. Raises Unreadable, and MedferryError of `bytes_of`."""
    return _COMPARATORS[case.check.compare](case)


def _exact(case: Case) -> str | None:
    value = case.legacy(case.check.sql)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_is(Decimal(repr(value)), case.found, 0.0)
    return plain(value, case.found)


def _text(case: Case) -> str | None:
    return plain(case.text(case.check.sql), case.found)


def _boolean(case: Case) -> str | None:
    """SQL says 1 or 0 (or true, false), or null."""
    value = case.legacy(case.check.sql)
    if value not in (None, 0, 1):
        raise Unreadable("no boolean")
    return plain(None if value is None else bool(value), case.found)


def _number(case: Case) -> str | None:
    return _number_is(decimal_of(case.text(case.check.sql)), case.found, case.check.tolerance)


def _number_is(expected: Decimal | None, found: list[Any], tolerance: float) -> str | None:
    def same(stored: Any) -> str | None:
        if isinstance(stored, bool) or not isinstance(stored, (int, float, Decimal)):
            return "no number"
        value = stored if isinstance(stored, Decimal) else Decimal(repr(stored))
        assert expected is not None
        if value.is_signed() != expected.is_signed():
            return "sign"  # of zero, too: minus nothing is not nothing
        return None if abs(value - expected) <= Decimal(repr(tolerance)) else DIFFERENT

    return single(expected, found, same)


def _quantity(case: Case) -> str | None:
    """Value, comparator and unit; with a tolerance also across units that convert into each other.

    A sign before the value is read where the check expects it as the comparator; any other raises Unreadable.
    """
    sign = case.text(case.check.comparator)
    value = decimal_of(_without(sign, case.text(case.check.sql)))

    def same(stored: Any) -> str | None:
        if not isinstance(stored, dict):
            return "no quantity"
        local = case.text(case.check.unit)
        unit = case.tables[case.check.table or ""].target(local) if local else None
        if unit is None:
            raise Unreadable("no approved unit")
        if stored.get("comparator") != sign:
            return "comparator"
        number = [stored["value"]] if "value" in stored else []
        if (stored.get("system"), stored.get("code")) == unit:
            return _number_is(value, number, case.check.tolerance)
        return _converted(value, unit[1], stored, case.check.tolerance) if stored.get("system") == _UCUM else "unit"

    return single(value, case.found, same)


def _without(sign: str | None, text: str | None) -> str | None:
    return text.removeprefix(sign) if sign and text else text


def _converted(expected: Decimal | None, unit: str, stored: dict[str, Any], tolerance: float) -> str | None:
    """Compared in the check's own unit, as the tolerance is: 0.01 of a check in mg is 0.01 mg, whatever is stored."""
    if not tolerance or "value" not in stored or expected is None:
        return "unit"
    found = converted(Decimal(str(stored["value"])), str(stored.get("code")), unit)
    if found is None:
        return "unit"
    return None if abs(expected - found) <= Decimal(repr(tolerance)) else DIFFERENT


def _code(case: Case) -> str | None:
    """A `code`, a Coding, or the codings of a concept: the approved target, in concepts beside the local code."""
    local, table = case.text(case.check.sql), case.check.table or ""
    target = case.tables[table].target(local) if local is not None else None
    stored, concept = case.found, case.check.path.rpartition(".")[2] == "coding"
    if case.item is not None and (whole := _codings_of(case.item[0])) is not None:
        stored, concept = whole, True
    if not concept and all(isinstance(item, str) for item in stored):
        if local is not None and target is None:
            raise Unreadable("no approved code")
        return plain(target[1] if target else None, stored)
    codings = {(item.get("system"), item.get("code")) for item in stored if isinstance(item, dict)}
    if len(codings) < len(stored):
        return SEVERAL
    kept = {(f"{case.base}/CodeSystem/{table}", local)} if local and _CODE.fullmatch(local) else set()
    expected = kept | ({target} if target else set())
    if codings == expected or (target and codings == {target} and not concept):
        return None
    return MISSING if not codings else UNEXPECTED if not expected else DIFFERENT


def _codings_of(item: Any) -> list[Any] | None:
    """Of a CodeableConcept in a list; None for a Coding or a code."""
    return item.get("coding", []) if isinstance(item, dict) and "code" not in item else None


def _reference(case: Case) -> str | None:
    """The resource that the other row became, and no other."""
    key = referred_key(case.check, case.columns)
    expected = None if key is None else case.place_of(case.check.entity or "", case.check.slot, key)
    if key is not None and expected is None:
        raise Unreadable("what it refers to is not in the manifest")
    stored = [item.get("reference") if isinstance(item, dict) else item for item in case.found]
    return plain(expected, stored)


def _document(case: Case) -> str | None:
    """An Attachment's bytes: size and SHA-256, and its type where the check names one.

    SQL has the bytes as a blob, or `as_text`: this very text, unless the check says that it is `cleaned`.
    """
    kind = case.text(case.check.media_type)
    expected = _bytes(case)

    def same(stored: Any) -> str | None:
        assert expected is not None
        if not isinstance(stored, dict):
            return "no attachment"
        if kind is not None and stored.get("contentType") != kind:
            return "type"
        if not expected and "data" not in stored and "url" not in stored:
            return None  # FHIR has no empty values: no content says that there are 0 bytes
        content = _decoded(stored["data"]) if "data" in stored else case.bytes_of(str(stored.get("url", "")))
        if content is None:
            return "no base64"
        if len(content) != len(expected):
            return "size"
        return None if hashlib.sha256(content).digest() == hashlib.sha256(expected).digest() else "hash"

    return single(expected, case.found, same)


def _decoded(data: Any) -> bytes | None:
    """The bytes of a base64Binary; None when it is none."""
    try:
        return b64decode("".join(str(data).split()), validate=True)
    except ValueError:
        return None


def _bytes(case: Case) -> bytes | None:
    if case.check.as_text:
        text = case.text(case.check.sql)
        if text is None:
            return None  # also blanks, and what the plan says is no value
        return (text if case.check.cleaned else str(case.legacy(case.check.sql))).encode()
    value = case.legacy(case.check.sql)
    if value is None:
        return None
    encoded = base64_of(value)
    if encoded is None:
        raise Unreadable("no bytes")
    return b64decode(encoded)


def _absent(case: Case) -> str | None:
    return UNEXPECTED if case.found else None


_COMPARATORS: Mapping[str, Callable[[Case], str | None]] = {
    "exact": _exact,
    "text": _text,
    "number": _number,
    "boolean": _boolean,
    "quantity": _quantity,
    "instant": times.instant,
    "date": times.day,
    "code": _code,
    "reference": _reference,
    "document": _document,
    "absent": _absent,
}
