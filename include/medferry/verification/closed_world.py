"""The closed world: a stored resource has nothing that neither a check, nor a rule, nor a declaration answers for.

What nobody answers for must at least be the same in all resources of a slot (a status, a category that the mapping
fixes): then its hash alone proves it, which the coverage tells. What only some of three or more have, or have
otherwise, is a difference, named by key and path; and some elements, which change the meaning of others, always are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import orjson

from medferry.verification.constancy import NOT_EXPECTED, Constancy, Witness
from medferry.verification.derived import DerivedValues
from medferry.verification.ownership import Owned, Owner

NOT_BY_RULE = "not as the rule says"

_NEVER_UNSAID = frozenset({"modifierExtension", "contained", "implicitRules"})
"""Elements that nobody may add without a word: they change, or hide, what the others mean."""
_DERIVED = frozenset({"display", "text", "unit", "type"})
_SERVERS_META = frozenset({"versionId", "lastUpdated", "author", "project", "compartment", "account", "accounts"})
_SIGNS = ("system", "use", "url")
"""Members that tell the items of a list apart."""

Report = Callable[[Witness, str, str], None]
"""Called with (whose, path, kind) of each difference."""

_UNOWNED, _NOT_COUNTED, _COUNTED = 0, 1, 2
"""Of a part of a resource: nobody owns anything in it; somebody does; and a second one of it would be found, too."""


@dataclass
class ClosedWorld:
    """The resources of one slot, one after the other. `leaves` counts leaf values by what proves them."""

    type: str
    derived: DerivedValues
    report: Report
    leaves: Counter[Owner] = field(default_factory=Counter)
    resources: int = 0
    _seen: Constancy = field(default_factory=Constancy)

    def examine(self, resource: dict[str, Any], owned: Owned, whose: Witness, compared: bool) -> None:
        """Account for every leaf of a resource. Unless `compared`, the checks were not made on it: a sample."""
        self.resources += 1
        walk = _Walk(owned.places, owned.whole, owned.alike, self._seen, self.derived, self.report, whose)
        walk.element(resource, self.type)
        if not compared:
            walk.leaves[Owner.HASH] += walk.leaves.pop(Owner.VALUE, 0)
        self.leaves.update(walk.leaves)

    def finish(self) -> None:
        """Report what is not the same in all resources, though nobody answers for it."""
        for whose, path, kind in self._seen.exceptions():
            self.report(whose, path, kind)


def count_leaves(value: Any) -> int:
    """How many values stand in a value."""
    if isinstance(value, dict):
        return sum(count_leaves(item) for item in value.values())
    if isinstance(value, list):
        return sum(count_leaves(item) for item in value)
    return 1


@dataclass(slots=True)
class _Walk:
    """Over one resource. A part in which nobody owns anything is one value of the element that holds it."""

    places: dict[tuple[int, Any], Owner]
    whole: set[int]
    alike: set[tuple[int, Any]]
    seen: Constancy
    derived: DerivedValues
    report: Report
    whose: Witness
    leaves: Counter[Owner] = field(default_factory=Counter)

    def element(self, element: dict[str, Any], path: str) -> int:
        """Judge what nobody owns in an element in which somebody owns something; how it is owned."""
        me, state = id(element), _UNOWNED
        loose: list[tuple[str, Any]] = []
        for name, held in element.items():
            owner = self.places.get((me, name))
            if owner is not None:
                own = self._own(owner, held)
            elif isinstance(held, dict):
                own = self.element(held, f"{path}.{name}")
            elif isinstance(held, list):
                own = self.items(held, f"{path}.{name}")
            else:
                own = _UNOWNED
            if own == _UNOWNED:
                loose.append((name, held))
            elif own > state:
                state = own
        if state:
            self._judge_members(element, loose, path)
        return state

    def items(self, items: list[Any], path: str) -> int:
        """The same of a list: its items one by one, how many of them nobody counts, and their order."""
        me = id(items)
        states: list[int] = []
        loose: list[Any] = []
        for number, item in enumerate(items):
            owner = self.places.get((me, number))
            if owner is not None:
                states.append(self._own(owner, item))
            else:
                states.append(self.element(item, f"{path}[]") if isinstance(item, dict) else _UNOWNED)
            if states[-1] == _UNOWNED:
                loose.append(item)
        if not any(states):
            return _UNOWNED
        for item in loose:
            self._note(f"{path}[]", _sign(item), item)
        if me not in self.whole:
            uncounted = states.count(_NOT_COUNTED), states.count(_UNOWNED)
            self.seen.value(path, "number", uncounted, self.whose)
            if len(items) > 1:
                signs = [_sign(item) for item in items]
                self.seen.value(path, ("order", *sorted(signs)), tuple(signs), self.whose)
        return max(states)

    def _own(self, owner: Owner, held: Any) -> int:
        self.leaves[owner] += count_leaves(held) if owner == Owner.HASH else 1
        return _NOT_COUNTED if owner == Owner.RULE else _COUNTED

    def _judge_members(self, element: dict[str, Any], loose: list[tuple[str, Any]], path: str) -> None:
        names: list[str] = []
        for name, held in loose:
            if _is_servers(name, path):
                continue
            if _is_never_unsaid(name, element, path):
                self.report(self.whose, f"{path}.{name}", NOT_EXPECTED)
                continue
            names.append(name)
            holds = self.derived.judge(element, name, held) if name in _DERIVED else None
            if holds is None:
                self._note(f"{path}.{name}", _context(element, name), held)
            else:
                self.leaves[Owner.RULE] += 1
                if not holds:
                    self.report(self.whose, f"{path}.{name}", NOT_BY_RULE)
        if "coding" in element:  # its text is compared in some, proven by the rule in others: all must have it, or none
            names = [name for name in names if name != "text"]
            self.seen.names(path, "coded", ("text",) if "text" in element else (), self.whose)
        names += [name for name in element if (id(element), name) in self.alike]
        known = "code" in element and bool(self.derived.names(element))
        self.seen.names(path, element["system"] if known else None, tuple(sorted(names)), self.whose)

    def _note(self, path: str, context: Hashable, held: Any) -> None:
        """A part that nobody owns."""
        self.leaves[Owner.HASH] += count_leaves(held)
        value = held if isinstance(held, str) else orjson.dumps(held, option=orjson.OPT_SORT_KEYS)
        if isinstance(value, bytes) and b'"modifierExtension":' in value:
            self.report(self.whose, f"{path} modifierExtension", NOT_EXPECTED)
        self.seen.value(path, context, value, self.whose)


def _is_servers(name: str, path: str) -> bool:
    return name in _SERVERS_META and path.endswith(".meta") and path.count(".") == 1


def _is_never_unsaid(name: str, element: dict[str, Any], path: str) -> bool:
    """Narrative, security labels, and what points past a reference, too."""
    root = "." not in path
    return (
        name in _NEVER_UNSAID
        or (name == "text" and root)
        or (name == "security" and path.endswith(".meta"))
        or (name == "identifier" and "reference" in element)
    )


def _context(element: dict[str, Any], name: str) -> Hashable:
    """What an unowned member's value may hang on: a name on its code, a text on the codings, a value on its system."""
    if name in ("display", "unit"):
        return str(element.get("system")), str(element.get("code"))
    if name == "text" and isinstance(element.get("coding"), list):
        return tuple((str(each.get("system")), str(each.get("code"))) for each in element["coding"])
    return str(element.get("url") or element.get("system")) if name != "system" else None


def _sign(item: Any) -> str:
    """What tells an item of a list from the others, as far as it is not data."""
    if not isinstance(item, dict):
        return ""
    signs = [str(item.get(name, "")) for name in _SIGNS]
    signs += [str(held["reference"]).partition("/")[0] for held in item.values() if _is_reference(held)]
    concepts = [item[name] for name in ("type", "code") if isinstance(item.get(name), dict)]
    return "|".join(signs) + "".join(orjson.dumps(each, option=orjson.OPT_SORT_KEYS).decode() for each in concepts)


def _is_reference(held: Any) -> bool:
    return isinstance(held, dict) and "reference" in held
