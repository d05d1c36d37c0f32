"""What "equal" means for one value: pure functions from a legacy value and what the resource holds to a verdict.

A verdict is None when they are equal, else the kind of the difference, a constant without data. A legacy value that
cannot be understood raises Unreadable: then nothing was compared.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from medferry.definition.checks import ApprovedTable, Check
from medferry.fhir.fhirpath import compiled
from medferry.plan.model import Source
from medferry.verification.units import in_base_unit

MISSING, UNEXPECTED, DIFFERENT, SEVERAL = "missing", "unexpected", "different", "several"

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_DATE = re.compile(r"(\d{4}(-\d{2}(-\d{2})?)?)([ T]00:00(:00(\.0+)?)?)?")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_CODE = re.compile(r"\S+(\s\S+)*")
_UCUM = "http://unitsofmeasure.org"


class Unreadable(ValueError):
    """The legacy value is nothing that this comparator understands; the message is a constant."""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison. `columns` are the check's SQL expressions with their values."""

    check: Check
    columns: Mapping[str, Any]
    resource: dict[str, Any]
    source: Source
    tables: Mapping[str, ApprovedTable]
    base: str
    place_of: Callable[[str, str, str], str | None]
    """(entity, slot, key) → "Type/id" by the crosswalk."""
    bytes_of: Callable[[str], bytes]
    """URL of an attachment → what Medplum has under it."""

    @property
    def found(self) -> list[Any]:
        """What the resource has at the check's path. Raises PathFailed."""
        return compiled(self.check.path)(self.resource, {"base": self.base})

    def legacy(self, sql: str | None) -> Any:
        return None if sql is None else self.columns[sql]

    def text(self, sql: str | None) -> str | None:
        """A legacy text without outer blanks and control characters; None for what the plan says is no value."""
        value = self.legacy(sql)
        if value is None:
            return None
        clean = _CONTROL.sub("", str(value)).strip()
        return None if clean in self.source.null_tokens else clean

    def moment(self) -> str | None:
        """As text, and None for a sentinel date."""
        value = self.text(self.check.sql)
        return None if value is None or value[:10] in self.source.sentinel_dates else value


def compare(case: Case) -> str | None:
    """The verdict. Raises Unreadable, and MedferryError of `bytes_of`."""
    return _COMPARATORS[case.check.compare](case)


def _one(expected: Any, found: list[Any], same: Callable[[Any], str | None]) -> str | None:
    """Presence first: absent, zero and empty are three things."""
    if expected is None:
        return UNEXPECTED if found else None
    if not found:
        return MISSING
    return SEVERAL if len(found) > 1 else same(found[0])


def _plain(expected: Any, found: list[Any]) -> str | None:
    return _one(expected, found, lambda held: None if type(held) is type(expected) and held == expected else DIFFERENT)


def _exact(case: Case) -> str | None:
    value = case.legacy(case.check.sql)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_is(Decimal(repr(value)), case.found, 0.0)
    return _plain(value, case.found)


def _text(case: Case) -> str | None:
    return _plain(case.text(case.check.sql), case.found)


def _boolean(case: Case) -> str | None:
    """SQL says 1 or 0 (or true, false), or null."""
    value = case.legacy(case.check.sql)
    if value not in (None, 0, 1):
        raise Unreadable("no boolean")
    return _plain(None if value is None else bool(value), case.found)


def _number(case: Case) -> str | None:
    return _number_is(_decimal(case.text(case.check.sql)), case.found, case.check.tolerance)


def _decimal(text: str | None) -> Decimal | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Unreadable("no number")
    return Decimal(text)


def _number_is(expected: Decimal | None, found: list[Any], tolerance: float) -> str | None:
    def same(held: Any) -> str | None:
        if isinstance(held, bool) or not isinstance(held, (int, float, Decimal)):
            return "no number"
        value = held if isinstance(held, Decimal) else Decimal(repr(held))
        assert expected is not None
        if value.is_signed() != expected.is_signed():
            return "sign"  # of zero, too: minus nothing is not nothing
        return None if abs(value - expected) <= Decimal(repr(tolerance)) else DIFFERENT

    return _one(expected, found, same)


def _quantity(case: Case) -> str | None:
    """Value, comparator and unit; with a tolerance also across units that convert into each other."""
    value = _decimal(_without_comparator(case.text(case.check.sql)))

    def same(held: Any) -> str | None:
        if not isinstance(held, dict):
            return "no quantity"
        local = case.text(case.check.unit)
        unit = case.tables[case.check.table or ""].target(local) if local else None
        if unit is None:
            raise Unreadable("no approved unit")
        if held.get("comparator") != case.text(case.check.comparator):
            return "comparator"
        number = [held["value"]] if "value" in held else []
        if (held.get("system"), held.get("code")) == unit:
            return _number_is(value, number, case.check.tolerance)
        return _converted(value, unit[1], held, case.check.tolerance) if held.get("system") == _UCUM else "unit"

    return _one(value, case.found, same)


def _without_comparator(text: str | None) -> str | None:
    return text.lstrip("<>") if text else text


def _converted(expected: Decimal | None, unit: str, held: dict[str, Any], tolerance: float) -> str | None:
    if not tolerance or "value" not in held or expected is None:
        return "unit"
    one, other = in_base_unit(expected, unit), in_base_unit(Decimal(str(held["value"])), str(held.get("code")))
    if one is None or other is None or one[1] != other[1]:
        return "unit"
    return None if abs(one[0] - other[0]) <= Decimal(repr(tolerance)) else DIFFERENT


def _instant(case: Case) -> str | None:
    """A wall time of a zone, to the second or finer, with that zone's offset at that time."""
    text = case.moment()
    zone = case.text(case.check.zone) if case.check.zone else case.source.time_zone
    expected = None if text is None else _wall_time(text, zone)
    if expected is not None and case.check.plus_minutes:
        expected = _later(expected, case.text(case.check.plus_minutes))

    def same(held: Any) -> str | None:
        if not isinstance(held, str) or "T" not in held:
            return "precision"
        moment = _parsed(held)
        assert expected is not None
        if moment is None or moment.utcoffset() is None:
            return "no zone"
        if moment != expected:
            return DIFFERENT
        return None if moment.utcoffset() == expected.utcoffset() else "zone"

    return _one(expected, case.found, same)


def _wall_time(text: str, zone: str | None) -> datetime:
    naive = _parsed(text)
    if naive is None or zone is None:
        raise Unreadable("no time")
    if naive.tzinfo is not None:
        return naive
    try:
        there = naive.replace(tzinfo=ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise Unreadable("no time zone") from None
    if there.utcoffset() != there.replace(fold=1).utcoffset():
        raise Unreadable("a clock change skips or repeats it")
    return there


def _later(start: datetime, minutes: str | None) -> datetime:
    """Real time, not wall time: the offset may change meanwhile."""
    passed = _decimal(minutes)
    if passed is None:
        raise Unreadable("no minutes")
    end = start.astimezone(UTC) + timedelta(minutes=float(passed))
    return end.astimezone(start.tzinfo)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _date(case: Case) -> str | None:
    """A day, month or year: as precise as the legacy database has it, not more and not less."""
    text = case.moment()
    match = _DATE.fullmatch(text) if text is not None else None
    if text is not None and not (match and _is_date(match[1])):
        raise Unreadable("no date")
    expected = match[1] if match else None

    def same(held: Any) -> str | None:
        assert expected is not None
        if held == expected:
            return None
        shorter = min(len(str(held)), len(expected))
        return "precision" if str(held)[:shorter] == expected[:shorter] else DIFFERENT

    return _one(expected, case.found, same)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat((text + "-01-01")[:10])
    except ValueError:
        return False
    return True


def _code(case: Case) -> str | None:
    """A `code`, a Coding, or the codings of a concept: the approved target, in concepts beside the local code."""
    local, table = case.text(case.check.sql), case.check.table or ""
    target = case.tables[table].target(local) if local is not None else None
    held = case.found
    concept = case.check.path.rpartition(".")[2] == "coding"
    if not concept and all(isinstance(one, str) for one in held):
        if local is not None and target is None:
            raise Unreadable("no approved code")
        return _plain(target[1] if target else None, held)
    codings = {(one.get("system"), one.get("code")) for one in held if isinstance(one, dict)}
    if len(codings) < len(held):
        return SEVERAL
    kept = {(f"{case.base}/CodeSystem/{table}", local)} if local and _CODE.fullmatch(local) else set()
    expected = kept | ({target} if target else set())
    if codings == expected or (target and codings == {target} and not concept):
        return None
    return MISSING if not codings else UNEXPECTED if not expected else DIFFERENT


def _reference(case: Case) -> str | None:
    """The resource that the other row became, and no other."""
    key = case.legacy(case.check.sql)
    key = None if key is None or not str(key).strip() else str(key).strip()
    expected = None if key is None else case.place_of(case.check.entity or "", case.check.slot, key)
    if key is not None and expected is None:
        raise Unreadable("what it refers to is not in the manifest")
    held = [one.get("reference") if isinstance(one, dict) else one for one in case.found]
    return _plain(expected, held)


def _document(case: Case) -> str | None:
    """An Attachment's bytes: size and SHA-256, and its type where the check names one.

    SQL has the bytes as a blob (base64 here), or `as_text`.
    """
    kind = case.text(case.check.media_type)
    expected = _bytes(case)

    def same(held: Any) -> str | None:
        assert expected is not None
        if not isinstance(held, dict):
            return "no attachment"
        if kind is not None and held.get("contentType") != kind:
            return "type"
        content = _decoded(held["data"]) if "data" in held else case.bytes_of(str(held.get("url", "")))
        if content is None:
            return "no base64"
        if len(content) != len(expected):
            return "size"
        return None if hashlib.sha256(content).digest() == hashlib.sha256(expected).digest() else "hash"

    return _one(expected, case.found, same)


def _decoded(data: Any) -> bytes | None:
    """The bytes of a base64Binary; None when it is none."""
    try:
        return b64decode("".join(str(data).split()), validate=True)
    except ValueError:
        return None


def _bytes(case: Case) -> bytes | None:
    if case.check.as_text:
        text = case.text(case.check.sql)
        return None if text is None else text.encode()
    value = case.legacy(case.check.sql)
    return None if value is None else b64decode(value)


def _absent(case: Case) -> str | None:
    return UNEXPECTED if case.found else None


_COMPARATORS: Mapping[str, Callable[[Case], str | None]] = {
    "exact": _exact,
    "text": _text,
    "number": _number,
    "boolean": _boolean,
    "quantity": _quantity,
    "instant": _instant,
    "date": _date,
    "code": _code,
    "reference": _reference,
    "document": _document,
    "absent": _absent,
}
