"""Where in a resource a FHIRPath expression's values stand, not only what they are.

The library that evaluates FHIRPath returns values alone. Understood here are members, `where`, `exists`, indexes,
unions and the few functions below; every other expression selects no place, and owns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Place = tuple[Any, Any, Any]
"""(container, name or index in it, value). The root, constants and computed values have no container."""


class NotSelectable(ValueError):
    """An expression is FHIRPath perhaps, but not of the part that selects places."""


@dataclass(slots=True)
class Selected:
    """What an expression selects in one resource.

    `tested` are the places that a filter holds to a constant (`where(system = 'phone')`), `counted` those of which
    `count()` was asked; `alike` tells that `distinct()` was: then how many there are has not been asked.
    """

    base: str
    places: list[Place] = field(default_factory=list)
    tested: list[Place] = field(default_factory=list)
    counted: list[Place] = field(default_factory=list)
    alike: bool = False


Select = Callable[[dict[str, Any], str], Selected]
_Step = Callable[[list[Place], Selected], list[Place]]

_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(\d+(?:\.\d+)?)|(%?\$?[A-Za-z_][A-Za-z0-9_]*)|([.()\[\]|=+,]))")


@cache
def selection(path: str) -> Select:
    """A function (resource, identifier base) → what `path` selects. Raises NotSelectable."""
    parser = _Parser(path)
    step = parser.condition()
    if parser.peek() != "":
        raise NotSelectable(path)

    def select(resource: dict[str, Any], base: str) -> Selected:
        found = Selected(base)
        found.places = step([(None, None, resource)], found)
        return found

    return select


def _constant(value: Any) -> list[Place]:
    return [(None, None, value)]


def _holds(found: list[Place]) -> bool:
    return len(found) == 1 and found[0][2] is True


class _Parser:
    """Recursive descent: and, then =, then |, then +, then steps."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tokens = [*_tokens(path), ""]
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise NotSelectable(self._path)

    def condition(self) -> _Step:
        first = self._equality()
        if self.peek() != "and":
            return first
        self._next()
        second = self.condition()
        return lambda focus, found: _constant(_holds(first(focus, found)) and _holds(second(focus, found)))

    def _equality(self) -> _Step:
        first = self._union()
        if self.peek() != "=":
            return first
        self._next()
        second = self._union()

        def equal(focus: list[Place], found: Selected) -> list[Place]:
            one, other = first(focus, found), second(focus, found)
            if not one or not other:
                return []
            same = [place[2] for place in one] == [place[2] for place in other]
            if same and all(place[0] is None for place in other):
                found.tested += one
            return _constant(same)

        return equal

    def _union(self) -> _Step:
        first = self._sum()
        if self.peek() != "|":
            return first
        self._next()
        second = self._union()
        return lambda focus, found: [*first(focus, found), *second(focus, found)]

    def _sum(self) -> _Step:
        first = self._steps()
        if self.peek() != "+":
            return first
        self._next()
        second = self._sum()

        def added(focus: list[Place], found: Selected) -> list[Place]:
            one, other = first(focus, found), second(focus, found)
            return _constant(str(one[0][2]) + str(other[0][2])) if len(one) == len(other) == 1 else []

        return added

    def _steps(self) -> _Step:
        token = self._next()
        if token.startswith("'"):
            return _literal(re.sub(r"\\(.)", r"\1", token[1:-1]))
        if token in ("true", "false"):
            return _literal(token == "true")
        if token.isdecimal():
            return _literal(int(token))
        if token == "%base":
            return lambda _, found: _constant(found.base)
        step = (lambda focus, _: focus) if token == "$this" else self._step(token, root=True)
        while self.peek() in (".", "["):
            following = self._step(self._next()) if self._next() == "." else self._index()
            step = _chained(step, following)
        return step

    def _index(self) -> _Step:
        number = self._next()
        self._expect("]")
        if not number.isdecimal():
            raise NotSelectable(self._path)
        at = int(number)
        return lambda focus, _: focus[at : at + 1]

    def _step(self, name: str, root: bool = False) -> _Step:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise NotSelectable(self._path)
        if self.peek() != "(":
            return _member(name, root)
        self._next()
        argument = None if self.peek() == ")" else self.condition()
        self._expect(")")
        made = _functions(name, argument)
        if made is None:
            raise NotSelectable(self._path)
        return made


def _tokens(path: str) -> Iterator[str]:
    at = 0
    while path[at:].strip():
        match = _TOKEN.match(path, at)
        if match is None:
            raise NotSelectable(path)
        at = match.end()
        yield match[match.lastindex or 0]


def _literal(value: Any) -> _Step:
    return lambda *_: _constant(value)


def _chained(first: _Step, second: _Step) -> _Step:
    return lambda focus, found: second(first(focus, found), found)


def _member(name: str, root: bool) -> _Step:
    def member(focus: list[Place], _: Selected) -> list[Place]:
        found: list[Place] = []
        for _container, _key, value in focus:
            if not isinstance(value, dict):
                continue
            if root and value.get("resourceType") == name:
                found.append((_container, _key, value))
            elif (held := value.get(name)) is None:
                continue
            elif isinstance(held, list):
                found += [(held, number, item) for number, item in enumerate(held)]
            else:
                found.append((value, name, held))
        return found

    return member


def _functions(name: str, argument: _Step | None) -> _Step | None:
    if argument is not None and name in ("where", "exists"):
        kept = _where(argument)
        return kept if name == "where" else lambda focus, found: _constant(bool(kept(focus, found)))
    if argument is not None and name == "startsWith":
        return _starts_with(argument)
    return None if argument is not None else _PLAIN.get(name)


def _where(condition: _Step) -> _Step:
    def where(focus: list[Place], found: Selected) -> list[Place]:
        kept: list[Place] = []
        for place in focus:
            before = len(found.tested)
            if _holds(condition([place], found)):
                kept.append(place)
            else:
                del found.tested[before:]
        return kept

    return where


def _starts_with(beginning: _Step) -> _Step:
    def starts(focus: list[Place], found: Selected) -> list[Place]:
        wanted = beginning(focus, found)
        if len(focus) != 1 or len(wanted) != 1 or not isinstance(focus[0][2], str):
            return []
        return _constant(focus[0][2].startswith(wanted[0][2]))

    return starts


def _counted(focus: list[Place], found: Selected) -> list[Place]:
    found.counted += focus
    return _constant(len(focus))


def _distinct(focus: list[Place], found: Selected) -> list[Place]:
    found.alike = True
    return focus


_PLAIN: dict[str, _Step] = {
    "exists": lambda focus, _: _constant(bool(focus)),
    "empty": lambda focus, _: _constant(not focus),
    "first": lambda focus, _: focus[:1],
    "last": lambda focus, _: focus[-1:],
    "tail": lambda focus, _: focus[1:],
    "distinct": _distinct,
    "count": _counted,
}
