"""Comparators of times: wall times of a zone, and days as precise as they are known."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from medferry.verification.case import DIFFERENT, Case, Unreadable, decimal_of, single

_DATE = re.compile(r"(\d{4}(-\d{2}(-\d{2})?)?)([ T]00:00(:00(\.0+)?)?)?")


def instant(case: Case) -> str | None:
    """A wall time of a zone, to the second or finer, with that zone's offset at that time."""
    text = case.moment()
    zone = case.text(case.check.zone) if case.check.zone else case.source.time_zone
    expected = None if text is None else _wall_time(text, zone)
    if expected is not None and case.check.plus_minutes:
        expected = _later(expected, case.text(case.check.plus_minutes))

    def same(stored: Any) -> str | None:
        if not isinstance(stored, str) or "T" not in stored:
            return "precision"
        moment = _parsed(stored)
        assert expected is not None
        if moment is None or moment.utcoffset() is None:
            return "no zone"
        if moment != expected:
            return DIFFERENT
        return None if moment.utcoffset() == expected.utcoffset() else "zone"

    return single(expected, case.found, same)


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
    passed = decimal_of(minutes)
    if passed is None:
        raise Unreadable("no minutes")
    end = start.astimezone(UTC) + timedelta(minutes=float(passed))
    return end.astimezone(start.tzinfo)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def day(case: Case) -> str | None:
    """A day, month or year: as precise as the legacy database has it, not more and not less."""
    text = case.moment()
    match = _DATE.fullmatch(text) if text is not None else None
    if text is not None and not (match and _is_date(match[1])):
        raise Unreadable("no date")
    expected = match[1] if match else None

    def same(stored: Any) -> str | None:
        assert expected is not None
        if stored == expected:
            return None
        shorter = min(len(str(stored)), len(expected))
        return "precision" if str(stored)[:shorter] == expected[:shorter] else DIFFERENT

    return single(expected, case.found, same)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat((text + "-01-01")[:10])
    except ValueError:
        return False
    return True
