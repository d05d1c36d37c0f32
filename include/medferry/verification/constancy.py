"""Which values are the same wherever they stand, and who deviates: counts, with a few witnesses for each value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

ENOUGH = 3
"""Of so many a deviation can be told; of fewer, nobody knows which is right."""
_WITNESSES = 50
_VALUES = 100
"""Different values kept of one place: whatever has more varies."""
_GROUPS = 50_000
"""Groups kept in all, so that memory does not grow with the number of resources; the rest is proven by hash alone."""

MISSING, NOT_EXPECTED = "missing", "not expected"
NOT_AS_OTHERS = "not as in the others"


class Witness(NamedTuple):
    """A resource by its source key and its place in Medplum ("Type/id")."""

    key: str
    place: str


@dataclass(slots=True)
class _Count:
    number: int = 0
    witnesses: list[Witness] = field(default_factory=list)

    def add(self, whose: Witness) -> None:
        self.number += 1
        if len(self.witnesses) < _WITNESSES:
            self.witnesses.append(whose)


Values = dict[Hashable, _Count]


@dataclass
class Constancy:
    """`values`: (path, what the value hangs on) → its values. `members`: the same → names that an element has."""

    values: dict[tuple[str, Hashable], Values] = field(default_factory=lambda: defaultdict(dict))
    members: dict[tuple[str, Hashable], Values] = field(default_factory=lambda: defaultdict(dict))

    def value(self, path: str, context: Hashable, value: Hashable, whose: Witness) -> None:
        """A value that ought to be the same at `path` wherever `context` is the same."""
        _note(self.values, (path, context), value, whose)

    def names(self, path: str, context: Hashable, names: tuple[str, ...], whose: Witness) -> None:
        """The members of an element that nobody compares."""
        _note(self.members, (path, context), names, whose)

    def exceptions(self) -> Iterator[tuple[Witness, str, str]]:
        """(whose, path, kind) of each deviation; of a value that many have, the first of them."""
        for (path, _), found in self.values.items():
            yield from _deviations(path, found)
        for (path, _), found in self.members.items():
            for name in sorted({name for names in found if isinstance(names, tuple) for name in names}):
                yield from _uneven(f"{path}.{name}", name, found)


def _note(
    groups: dict[tuple[str, Hashable], Values], group: tuple[str, Hashable], value: Hashable, whose: Witness
) -> None:
    if group not in groups and len(groups) >= _GROUPS:
        return
    found = groups[group]
    count = found.get(value)
    if count is None:
        if len(found) >= _VALUES:
            return
        count = found[value] = _Count()
    count.add(whose)


def _deviations(path: str, found: Values) -> Iterator[tuple[Witness, str, str]]:
    total = sum(count.number for count in found.values())
    if len(found) < 2 or total < ENOUGH:
        return
    commonest = max(found.values(), key=lambda count: count.number)
    if 2 * commonest.number <= total:
        return  # it varies from row to row: nobody deviates, and the coverage counts it as proven by hash alone
    for count in found.values():
        if count is not commonest:
            yield from ((whose, path, NOT_AS_OTHERS) for whose in count.witnesses)


def _uneven(path: str, name: str, found: Values) -> Iterator[tuple[Witness, str, str]]:
    """Who has a member that most have not, or lacks one that most have."""
    having = [count for names, count in found.items() if isinstance(names, tuple) and name in names]
    lacking = [count for names, count in found.items() if isinstance(names, tuple) and name not in names]
    few, many = sum(count.number for count in having), sum(count.number for count in lacking)
    if not (few and many) or few + many < ENOUGH:
        return
    minority, kind = (having, NOT_EXPECTED) if few <= many else (lacking, MISSING)
    yield from ((whose, path, kind) for count in minority for whose in count.witnesses)
