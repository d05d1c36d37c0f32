"""Find and rewrite the references inside a resource."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Every Reference object (a dict with a string ``reference``) inside `value`, in document order."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def literal_references(value: Any) -> set[tuple[str, str]]:
    """(resource type, id) of all that `value` refers to by id, within the same server."""
    found = (_LITERAL.fullmatch(one["reference"]) for one in references(value))
    return {(match[1], match[2]) for match in found if match}


def by_type(places: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Resource type → ids, of some (resource type, id)."""
    found: dict[str, set[str]] = {}
    for kind, medplum_id in places:
        found.setdefault(kind, set()).add(medplum_id)
    return found


def parse_conditional(reference: str) -> tuple[str, str, str] | None:
    """Split ``Type?identifier=system|value``, or ``?_tag=``, into (type, system, value), decoded; None for another."""
    resource_type, _, query = reference.partition("?")
    parameter, _, token = query.partition("=")
    system, bar, value = token.partition("|")
    if not bar or parameter not in ("identifier", "_tag"):
        return None
    return resource_type, _unescaped(unquote(system)), _unescaped(unquote(value))


def escaped(text: str) -> str:
    r"""`text` as a value of a search: a ``\`` before each ``\``, ``,``, ``|`` and ``$``, which separate values."""
    return _SEPARATOR.sub(r"\\\g<0>", text)


def system_token(system: str, value: str = "") -> str:
    """What a search for an identifier's system is given, and its value; without one, for any value of the system."""
    return f"{escaped(system)}|{escaped(value)}"


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


_LITERAL = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})")
_SEPARATOR = re.compile(r"[\\,|$]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
