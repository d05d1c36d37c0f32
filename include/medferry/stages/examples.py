"""Try the examples of a mapping: what a row becomes beside what it must become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any

import orjson

from medferry.definition.examples import Example, Examples
from medferry.definition.fingerprint import EXAMPLES
from medferry.definition.migration import Migration
from medferry.errors import DefinitionError
from medferry.mapping.apply import MappedRow
from medferry.mapping.apply_inverse import by_slot
from medferry.mapping.outcomes import Disposition
from medferry.plan.load import line_of
from medferry.source.types.canonical import as_streamed
from medferry.stages.transform import map_row

_READY = "ready to load"


def differences_of(migration: Migration, entity: str, examples: Examples, number: int) -> list[str]:
    """The lines in which example `number` comes out otherwise than it says; none where all is as expected.

    Raises DefinitionError for a row without its key.
    """
    example = examples.examples[number]
    row = as_streamed({**examples.defaults, **example.row})
    if missing := [name for name in migration.entities[entity].key if name not in row]:
        path = migration.folder / EXAMPLES / f"{entity}.yaml"
        problem = f"the row of {example.name!r} has no column {missing[0]}, which is its key."
        raise DefinitionError(path, line_of(path, ("examples", number)), problem, "Add it, or put it under defaults.")
    mapped = map_row(migration.specs[entity], migration.entities[entity], row, migration.settings)
    slots = by_slot(migration.specs[entity], mapped.resources, migration.settings)
    expected, made = _expected(example), _made(example, mapped, slots)
    if expected == made:
        return []
    why = [f"  {mapped.place}"] if mapped.place else []
    return [*why, *list(unified_diff(_lines(expected), _lines(made), "expected", "made", lineterm="", n=2))]


def _expected(example: Example) -> dict[str, Any]:
    said: dict[str, Any] = {"outcome": _expected_outcome(example)}
    if example.findings is not None:
        said["findings"] = sorted(example.findings)
    slots = example.becomes or {}
    return said | {name: {k: v for k, v in elements.items() if v is not None} for name, elements in slots.items()}


def _expected_outcome(example: Example) -> str:
    for disposition in (Disposition.SKIPPED, Disposition.QUARANTINED, Disposition.REJECTED):
        reason = getattr(example, disposition)
        if reason is not None:
            return f"{disposition} {reason}"
    return _READY


def _made(example: Example, mapped: MappedRow, slots: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What came out, as far as the example speaks of it; of a slot that it does not know, everything."""
    reason = f"{mapped.disposition} {mapped.reason}"
    outcome = _READY if mapped.disposition is Disposition.PENDING else reason
    if mapped.field and " " in _expected_outcome(example).removeprefix(f"{mapped.disposition} "):
        outcome = f"{reason} {mapped.field}"
    made: dict[str, Any] = {"outcome": outcome}
    if example.findings is not None:
        made["findings"] = sorted(f"{found.reason} {found.field}".strip() for found in mapped.findings)
    for slot, resource in slots.items():
        known = (example.becomes or {}).get(slot)
        made[slot] = {name: value for name, value in resource.items() if known is None or name in known}
    return made


def _lines(said: Mapping[str, Any]) -> Sequence[str]:
    return orjson.dumps(said, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()
