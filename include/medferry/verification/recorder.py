"""Counts what a part of the verification has compared, and hands every difference on as it is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from medferry.manifest.checks import EXAMPLES, CheckResult, CheckStatus, Difference, PeriodCount
from medferry.manifest.coverage import LeafCount
from medferry.source.keys import MAX_KEY_BYTES
from medferry.source.shown_keys import shown_record

Keep = Callable[[list[Difference]], None]
"""Writes differences away; called with some hundreds at a time."""

_AT_ONCE = 500


@dataclass(slots=True)
class _Count:
    equal: int = 0
    empty: int = 0
    different: int = 0
    unchecked: int = 0
    settling: int = 0
    in_flight: int = 0
    due: int = 0
    hashed: int = 0
    kept: int = 0
    examples: list[str] = field(default_factory=list)
    note: str = ""
    unchecked_keys: Any = field(default_factory=hashlib.sha256)
    """All of them in one number, so that who accepts that some could not be checked accepts no others."""


@dataclass(slots=True)
class CheckRecorder:
    """The checks of one entity. Memory does not grow with the number of differences."""

    entity: str
    keep: Keep
    counts: dict[str, _Count] = field(default_factory=dict)
    waiting: list[Difference] = field(default_factory=list)
    periods: list[PeriodCount] = field(default_factory=list)
    leaves: list[LeafCount] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    """What stands in the place of source keys and is none: units, entities."""

    def expect(self, name: str, note: str = "") -> None:
        """Have a result for `name`, also when nothing comes up to be compared."""
        count = self.counts.setdefault(name, _Count())
        count.note = note or count.note

    def equal(self, name: str, number: int = 1) -> None:
        self._of(name).equal += number

    def different(self, name: str, key: str, field: str, kind: str, place: str = "") -> None:
        count = self._of(name)
        count.different += 1
        if len(count.examples) < EXAMPLES:
            count.examples.append(" ".join(part for part in (self._shown(key), place, field, kind) if part))
        self.waiting.append(Difference(name, self.entity, key[:MAX_KEY_BYTES], field[:200], kind, place))
        if len(self.waiting) >= _AT_ONCE:
            self.flush()

    def over_limit(self, name: str, key: str, field: str, kind: str) -> None:
        """A limit that the plan sets is not kept: of no record, but of what `key` names."""
        self.named.add(key)
        self.different(name, key, field, kind)

    def other_number(self, name: str, unit: str, there: int, here: int) -> None:
        """The source has `there` rows in a unit ("": in none), and the manifest's ledger `here`."""
        told = told_number(unit, there, here)
        self.named.add(told[0])
        self.different(name, *told)

    def empty(self, name: str) -> None:
        """Nothing stands on either side: equal beside comparisons that had a value, and by itself no comparison."""
        self._of(name).empty += 1

    def has_value(self, name: str) -> bool:
        """Whether a comparison of `name` had a value on either side, be it that it could not be compared."""
        count = self._of(name)
        return bool(count.equal or count.different or count.unchecked or count.in_flight)

    def has_compared(self, name: str) -> bool:
        """Whether anything came up for `name`, be it that nothing stood on either side."""
        return self.has_value(name) or bool(self._of(name).empty)

    def keep_by_policy(self, name: str) -> None:
        """One that would be a difference, which the plan says may stay."""
        count = self._of(name)
        count.equal += 1
        count.kept += 1

    def judge(self, name: str, key: str, field: str, kind: str | None, place: str = "") -> None:
        """Equal when `kind` is None, else different in that way."""
        if kind is None:
            self._of(name).equal += 1
        else:
            self.different(name, key, field, kind, place)

    def unchecked(self, name: str, number: int, why: str, *keys: str) -> None:
        """`number` comparisons, of the rows `keys` if they are known, could not be made; `why` holds no data."""
        count = self._of(name)
        count.unchecked += number
        count.note = count.note or why[:400]
        for key in keys:
            count.unchecked_keys.update(f"{key}\0".encode())
        room = max(EXAMPLES - len(count.examples), 0)
        count.examples += [f"{self._shown(key)} could not check" for key in keys[:room]]

    def settling(self, name: str, number: int, why: str) -> None:
        """`number` things may still change by what was sent; `why` holds no data."""
        count = self._of(name)
        count.settling += number
        count.note = count.note or why[:400]

    def in_flight(self, name: str, number: int, why: str) -> None:
        """`number` things are on their way between the two systems, and can be judged when they have arrived."""
        count = self._of(name)
        count.in_flight += number
        count.note = count.note or why[:400]

    def hashes_only(self, name: str, number: int, note: str) -> None:
        """Of `number` resources nothing was compared but that they are as written."""
        self.expect(name, note)
        self._of(name).hashed += number

    def due(self, name: str, number: int) -> None:
        """`number` resources or records are there for `name` to judge: what it does not judge could not be checked."""
        self._of(name).due += number

    def flush(self) -> None:
        if self.waiting:
            self.keep(self.waiting)
            self.waiting = []

    def results(self) -> list[CheckResult]:
        """Different outweighs could not check, then settling, in flight, equal; what compared nothing is none."""
        self.flush()
        for name, count in self.counts.items():
            overlooked = count.due - count.equal - count.different - count.unchecked - count.in_flight
            if overlooked > 0:
                self.unchecked(name, overlooked, f"{overlooked:,} of {count.due:,} that there are were not compared.")
        return [_result(name, self.entity, count) for name, count in self.counts.items()]

    def _shown(self, key: str) -> str:
        return key if key in self.named else shown_record(self.entity, key)

    def _of(self, name: str) -> _Count:
        return self.counts.setdefault(name, _Count())


def told_number(unit: str, there: int, here: int) -> tuple[str, str, str]:
    """Key, field and kind of a unit's other number of rows."""
    return f"unit {unit}" if unit else "no unit", f"{there} in the source, {here} in the ledger", "other number"


def _result(name: str, entity: str, count: _Count) -> CheckResult:
    compared = count.equal + count.different
    compared += count.empty if compared else 0
    kept = f"{count.kept:,} kept, as the plan says. " if count.kept else ""
    note = f"{count.note} [rows {count.unchecked_keys.hexdigest()[:12]}]" if count.unchecked else count.note
    status = _status(count)
    if status is CheckStatus.NOTHING and count.empty:
        note = f"No value on either side, in {count.empty:,} resources. {note}".strip()
    unjudged = count.in_flight if status is CheckStatus.IN_FLIGHT else count.unchecked
    return CheckResult(name, entity, status, compared, count.different, count.examples, unjudged, kept + note)


def _status(count: _Count) -> CheckStatus:
    if count.different:
        return CheckStatus.DIFFERENT
    if count.unchecked:
        return CheckStatus.COULD_NOT_CHECK
    if count.settling:
        return CheckStatus.SETTLING
    if count.in_flight:
        return CheckStatus.IN_FLIGHT
    if count.hashed:
        return CheckStatus.HASHES_ONLY
    return CheckStatus.EQUAL if count.equal else CheckStatus.NOTHING
