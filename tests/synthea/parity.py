"""The parity checker: pair our resources with Synthea's own FHIR, compare every leaf, and judge by the register.

Differences are counted by type, field and kind:
- ``missing``: Synthea's resource has the value, ours has none. Field ``*`` is a whole resource.
- ``extra``: the other way round.
- ``day-only``: ours is the day on which Synthea's instant falls, in the zone in which Synthea wrote it.
- ``commas-lost``: equal but for commas and line breaks, which the CSV holds as blanks.
- ``rounded``: ours is Synthea's number, rounded to one decimal.
- ``more-exact``: Synthea's number is ours, rounded to five significant digits.
- ``different``: anything else.
Instants are equal when they are the same moment, numbers when they are the same number.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.synthea.normal import Ours, Resource, Theirs, field_of, leaves

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Difference(NamedTuple):
    """What differs, without a value of it."""

    type: str
    field: str
    kind: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line of differences.csv. `difference.field` covers the fields below it too; `expected` counts leaves."""

    difference: Difference
    reason: str
    owner: str
    expected: int


def _at(tree: Any, *steps: str) -> Any:
    """The value at the end of `steps`; the first member of a list on the way."""
    for step in steps:
        tree = tree[0] if isinstance(tree, list) and tree else tree
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def _moment(value: Any) -> Any:
    """An instant as a moment in time, anything else as it is."""
    return datetime.fromisoformat(value) if isinstance(value, str) and _INSTANT.fullmatch(value) else value


def _day(value: Any) -> Any:
    return value[:10] if isinstance(value, str) else value


def _event(code: str, time: str, read: Callable[[Any], Any], who: str = "subject") -> Callable[[Resource], Any]:
    """A natural key: patient, encounter, code and time."""
    *parents, last = time.split(".")
    return lambda tree: (
        tree.get(who),
        tree.get("encounter"),
        _at(tree, *code.split("."), "coding", "code"),
        read(_at(tree, *parents, last)),
    )


def _without_encounter(key: Callable[[Resource], Any]) -> Callable[[Resource], Any]:
    return lambda tree: (key(tree)[0], *key(tree)[2:])


# Types whose ids are in the CSV are paired by them; the others by what a row says of itself.
NATURAL: Mapping[str, Callable[[Resource], Any]] = {
    "Condition": _event("code", "onsetDateTime", _day),
    "Procedure": _event("code", "performedPeriod.start", _moment),
    "Observation": _event("code", "effectiveDateTime", _moment),
    "MedicationRequest": _event("medicationCodeableConcept", "authoredOn", _moment),
    "Immunization": _event("vaccineCode", "occurrenceDateTime", _moment, "patient"),
    "AllergyIntolerance": _without_encounter(_event("code", "recordedDate", _day, "patient")),
    "SupplyDelivery": _without_encounter(
        _event("suppliedItem.itemCodeableConcept", "occurrenceDateTime", _day, "patient")
    ),
    "Device": lambda tree: (tree.get("patient"), _at(tree, "udiCarrier", "carrierHRF")),
    "PractitionerRole": lambda tree: tree.get("practitioner"),
    "ImagingStudy": lambda tree: (tree.get("subject"), tree.get("encounter"), _at(tree, "series", "uid")),
}


def compare(ours: Sequence[Resource], theirs: Sequence[Resource], base: str) -> Counter[Difference]:
    """Every difference between the two sides, counted."""
    found: Counter[Difference] = Counter()
    mine, reference = _grouped(ours, Ours(base)), _grouped(theirs, Theirs(theirs))
    for name in mine.keys() | reference.keys():
        resource_type = name[0]
        left, right = mine.get(name, []), list(reference.get(name, []))
        for tree in left:
            if not right:
                found[Difference(resource_type, "*", "extra")] += 1
                continue
            nearest = min(right, key=lambda other: _weight(_differences(resource_type, tree, other)))
            right.remove(nearest)
            found.update(_differences(resource_type, tree, nearest))
        found[Difference(resource_type, "*", "missing")] += len(right)
    return +found


def _grouped(resources: Iterable[Resource], side: Ours | Theirs) -> dict[tuple[str, Any], list[Resource]]:
    """Normal forms by (type, identity or natural key)."""
    groups: dict[tuple[str, Any], list[Resource]] = defaultdict(list)
    for resource in resources:
        tree, resource_type = side.normal(resource), resource["resourceType"]
        natural = NATURAL.get(resource_type)
        groups[resource_type, natural(tree) if natural else side.identity(resource)].append(tree)
    return groups


def _weight(differences: Counter[Difference]) -> int:
    return differences.total()


def _differences(resource_type: str, ours: Resource, theirs: Resource) -> Counter[Difference]:
    left, right = dict(leaves(ours)), dict(leaves(theirs))
    found: Counter[Difference] = Counter()
    for path in left.keys() | right.keys():
        kind = _kind(left.get(path), right.get(path))
        if kind:
            found[Difference(resource_type, field_of(path), kind)] += 1
    return found


def _kind(ours: Any, theirs: Any) -> str | None:
    if ours is None:
        return "missing"
    if theirs is None:
        return "extra"
    if type(ours) is bool or type(theirs) is bool:
        return None if ours is theirs else "different"
    if _moment(ours) == _moment(theirs):
        return None
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return _kind_of_numbers(ours, theirs)
    if isinstance(ours, str) and isinstance(theirs, str):
        if _DAY.fullmatch(ours) and _INSTANT.fullmatch(theirs) and theirs.startswith(ours):
            return "day-only"
        if ours == re.sub(r"\r\n|[\r\n,]", " ", theirs).strip():
            return "commas-lost"
    return "different"


def _kind_of_numbers(ours: float, theirs: float) -> str:
    # Half of the last decimal, and a little for what a double cannot hold exactly.
    if ours == round(ours, 1) and abs(ours - theirs) <= 0.05 + 1e-9:
        return "rounded"
    return "more-exact" if theirs == float(f"{ours:.5g}") else "different"


def load_accepted(path: Path) -> list[Accepted]:
    """Read the register of accepted differences."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Accepted(
                Difference(line["type"], line["field"], line["difference"]),
                line["reason"],
                line["owner"],
                int(line["expected"]),
            )
            for line in csv.DictReader(file)
        ]


def judge(found: Mapping[Difference, int], accepted: Sequence[Accepted]) -> list[str]:
    """What the register does not say: unregistered differences, and registered ones that occur more or less often."""
    tally: Counter[Difference] = Counter()
    complaints: list[str] = []
    lines = {line.difference: line for line in accepted}
    for difference, count in sorted(found.items()):
        covering = _covering(difference, lines)
        if covering:
            tally[covering] += count
        else:
            complaints.append(f"not registered: {count} × {' '.join(difference)}")
    for line in accepted:
        if tally[line.difference] != line.expected:
            told = " ".join(line.difference)
            complaints.append(f"registered {line.expected} × {told}, found {tally[line.difference]}")
    return complaints


def _covering(difference: Difference, lines: Mapping[Difference, Accepted]) -> Difference | None:
    """The most exact registered line: the field itself, or the nearest field above it."""
    steps = difference.field.split(".")
    candidates = (".".join(steps[:length]) for length in range(len(steps), 0, -1))
    return next((one for c in candidates if (one := difference._replace(field=c)) in lines), None)
