"""Declared checks that prove less than they seem to. No fault, for it may be meant; told by `plan check`.

Told is only what a check's own text decides. How large a tolerance may be for the values that are there, and whether a
constant is the right one, nobody knows but who wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from medferry.definition.checks import Check, EntityChecks, ManyCheck, places
from medferry.source.dialects import VARIANTS

ROUNDED = 0.5
"""How far apart a value and its rounding to whole numbers are; a larger tolerance explains no rounding to units."""

_DIALECTS = ("", *dict.fromkeys(VARIANTS.values()))
_TEXTS = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`|%\w+|\d+(?:\.\d+)?")
_NAMES = re.compile(r"[A-Za-z_]\w*(?!\w*\s*\()")
_WORDS = frozenset({"and", "as", "contains", "div", "false", "implies", "in", "is", "mod", "or", "true", "xor"})


def weak_checks(declared: Mapping[str, EntityChecks]) -> list[str]:
    """What is to be told of a migration's checks, by entity, a line each."""
    told, constant = list[str](), list[str]()
    for entity, checks in sorted(declared.items()):
        every = [check for _, check in places(checks)]
        names = dict.fromkeys(check.name for check in every if isinstance(check, Check) and is_constant(check))
        constant += [f"{entity}/{name}" for name in names]
        told += [f"checks/{entity}.yaml: {line}" for check in every for line in _weaknesses(check)]
        told += [f"checks/{entity}.yaml: no check of {slot} compares a value of its row" for slot in _unread(checks)]
    if constant:
        told.append(f"checks with one value for every row, so that they prove none: {', '.join(constant)}")
    return told


def _unread(checks: EntityChecks) -> Iterator[str]:
    """The slots whose checks are all of constants or of what must not be there."""
    for slot in checks.resources:
        of_slot = checks.checks(slot)
        reads = any(check.compare != "absent" and not is_constant(check) for check in of_slot)
        if of_slot and not reads and not checks.many(slot):
            yield slot


def is_constant(check: Check) -> bool:
    """Whether the SQL of a check reads no column and no table: it is the same for every row, or by chance."""
    return check.sql is not None and all(map(_reads_nothing, (check.sql, *check.further_sql)))


def _reads_nothing(sql: str) -> bool:
    for dialect in _DIALECTS:
        try:
            parsed = sqlglot.parse_one(sql, read=dialect)
        except SqlglotError:
            continue
        return parsed.find(exp.Column, exp.Table) is None
    return False


def _weaknesses(check: Check | ManyCheck) -> Iterator[str]:
    if not _names_a_place(check.path):
        yield f"the path of {check.name} names no place in the resource, whatever it holds"
    if isinstance(check, ManyCheck) or check.compare == "absent":
        return
    if "|" in _TEXTS.sub("", check.path):
        yield (
            f"{check.name} is found at any of several places ({check.path}), and is not missed at the right one: "
            "declare a check for each, with where"
        )
    if check.tolerance > ROUNDED:
        yield (
            f"{check.name} has a tolerance of {check.tolerance:g}: values that far apart count as equal, more than "
            f"rounding to whole numbers explains ({ROUNDED:g})"
        )


def _names_a_place(path: str) -> bool:
    return bool(set(_NAMES.findall(_TEXTS.sub(" ", path))) - _WORDS)
