"""Pure parsers from the text of a legacy column to FHIR primitives. They keep or refuse, never guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from pendulum import Timezone
from pendulum.tz.exceptions import AmbiguousTime, NonExistingTime

from medferry.mapping.outcomes import Quarantine

_UNDECODABLE = re.compile("[\ud800-\udfff\ufffd]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WRONGLY_DECODED = re.compile("[\x80-\x9f]")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_LOCAL_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)")
_OFFSET = re.compile(r" ?(Z|([+-](?:0\d|1[0-3]|14(?=:?00|$)))(?::?([0-5]\d))?)$")
_HAS_OFFSET = re.compile(r":\d{2}(\.\d+)? ?(Z|[+-][\d:]+)$")
_FINE = re.compile(r"(:\d{2}\.\d{6})(\d{1,3})(?!\d)")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,4})?")
_ZERO_DATE = re.compile(r"0000-00-00([ T]00:00(:00(\.0+)?)?)?")

_INTEGERS = 2**63
"""From here on JSON libraries print no integers; a double says the same."""


class ZeroDate(str):
    """MySQL's `0000-00-00`, in the date and time columns that may not be null: no date, and so false."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


def with_zero_dates(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row, its zero dates as ``ZeroDate``: ``if row["deleted_at"]`` must not take the living for deleted."""
    zero = {
        name: ZeroDate(value)
        for name, value in row.items()
        if isinstance(value, str) and value.startswith("0000-00-00") and _ZERO_DATE.fullmatch(value)
    }
    return {**row, **zero} if zero else row


def is_plain(text: str) -> bool:
    """True when `text` holds nothing but printable ASCII, so that none of the faults below can be in it."""
    return text.isascii() and text.isprintable()


def is_undecodable(text: str) -> bool:
    """True when `text` holds a lone surrogate (bytes that no charset explained) or U+FFFD."""
    return bool(_UNDECODABLE.search(text))


def is_decoded_as_latin_1(text: str) -> bool:
    """True when `text` holds C1 control characters (U+0080 to U+009F).

    Nobody types them: they are letters and quotes of another encoding, Windows-1252 or UTF-8, that was decoded as
    Latin-1. Which letter each was cannot be told for sure, and Medplum would keep them.
    """
    return bool(_WRONGLY_DECODED.search(text))


def without_control_characters(text: str) -> str:
    """Drop C0 control characters except tab, line feed and carriage return (Medplum refuses them), and DEL."""
    return _CONTROL.sub("", text)


def looks_like_mojibake(text: str) -> bool:
    """True when `text` reads as UTF-8 that was decoded as Windows-1252, such as 'JosÃ©'."""
    if text.isascii():
        return False
    try:
        return text.encode("cp1252").decode("utf-8") != text
    except UnicodeError:
        return False


def parse_date(text: str, field: str = "") -> str:
    """Check a FHIR date (YYYY, YYYY-MM or YYYY-MM-DD; a midnight time part is cut).

    Raises Quarantine('impossible-date') for anything that is no day of the calendar.
    """
    day = text[:10] if re.fullmatch(r"\d{4}-\d{2}-\d{2}[T ]00:00(:00(\.0+)?)?", text) else text
    if not _DATE.fullmatch(day):
        raise Quarantine("impossible-date", field)
    try:
        date.fromisoformat((day + "-01-01")[:10])
    except ValueError:
        raise Quarantine("impossible-date", field) from None
    return day


@cache
def zone_of(name: str) -> Timezone:
    """The zone of an IANA name such as America/New_York. Raises InvalidTimezone, a ValueError.

    Read once: pendulum would read its file again for each row.
    """
    return Timezone(name)


def parse_local_time(text: str, zone: Timezone, field: str = "") -> str:
    """Read a wall-clock time of `zone` as an ISO 8601 instant with its offset.

    Raises Quarantine: 'impossible-date' when it is no time at all, or from before its zone's standard time (often a
    minimum for null), whose offset has seconds that FHIR cannot hold; 'nonexistent-local-time' inside the
    gap of a clock change, 'ambiguous-local-time' inside its overlap.
    """
    naive = _wall_time(text, field)
    try:
        moment = zone.convert(naive, raise_on_unknown_times=True)
        offset = moment.utcoffset()
        if offset is not None and not offset.seconds % 60:
            return _isoformat(moment)
        reason = "impossible-date"
    except AmbiguousTime:
        reason = "ambiguous-local-time"
    except NonExistingTime:
        reason = "nonexistent-local-time"
    raise Quarantine(reason, field)


def to_microseconds(text: str) -> tuple[str, bool]:
    """A time of up to nine digits of a second with six, and whether that cut anything but zeros off."""
    match = _FINE.search(text)
    if not match:
        return text, False
    return text[: match.end(1)] + text[match.end() :], match[2].strip("0") != ""


def has_offset(text: str) -> bool:
    """True when a time of day in `text` is followed by ``Z`` or by something that is to be its offset from UTC."""
    return bool(_HAS_OFFSET.search(text))


def parse_exact_time(text: str, field: str = "") -> str:
    """Read a time that carries ``Z`` or its offset (``-05``, ``+0530``, ``+05:30``) as an ISO 8601 instant.

    The offset is kept and no zone is asked. Raises Quarantine('impossible-date'), also for an offset that FHIR cannot
    hold (beyond 14 hours, or with seconds).
    """
    match = _OFFSET.search(text)
    if not match:
        raise Quarantine("impossible-date", field)
    offset = "+00:00" if match[1] == "Z" else f"{match[2]}:{match[3] or '00'}"
    naive = _wall_time(text[: match.start()], field)
    return _isoformat(naive) + offset


def _wall_time(text: str, field: str) -> datetime:
    match = _LOCAL_TIME.fullmatch(text)
    if not match:
        raise Quarantine("impossible-date", field)
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}")
    except ValueError:
        raise Quarantine("impossible-date", field) from None


def _isoformat(moment: datetime) -> str:
    """Seconds always (FHIR wants them), and as much of a fraction as there is."""
    fraction = "microseconds" if moment.microsecond % 1_000 else "milliseconds"
    return moment.isoformat(timespec=fraction if moment.microsecond else "seconds")


def parse_number(value: str | int | float, field: str = "") -> int | float:
    """Read a decimal, with or without an exponent, exactly as a JSON number; 72.0 and 72 are both the int 72.

    From 2⁶³ on a whole number comes back as float. Raises Quarantine: 'not-a-number', or 'precision-loss' when a double
    would print other digits (a JSON number is a double in Medplum), or of minus 0, which JavaScript prints as 0.
    """
    text = str(value).strip()
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise Quarantine("not-a-number", field)
    number = Decimal(text)
    if Decimal(repr(float(number))) != number or (number.is_zero() and number.is_signed()):
        raise Quarantine("precision-loss", field)
    whole = abs(number) < _INTEGERS and number == number.to_integral_value()
    return int(number) if whole else float(number)
