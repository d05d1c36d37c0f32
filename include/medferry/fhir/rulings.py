"""What is decided about the places of a merge, told by their elements: ``name.family``, whatever name it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from medferry.fhir.choices import choice_of
from medferry.fhir.sides import Side

WHOLE = "*"
"""In place of elements: all that the merge is about."""

Decide = Callable[[str], Side | None]
"""Whose value stands in an element; None: it is not decided."""


def nobody(_: str) -> None:
    """Nothing is decided."""


@dataclass(frozen=True, slots=True)
class Rulings:
    """What becomes of a place in which the two sides differ. By default each keeps what it alone has changed."""

    in_conflict: Decide = nobody
    """Where both have changed it since the base, each otherwise."""
    ours_alone: Decide = nobody
    theirs_alone: Decide = nobody

    @staticmethod
    def of_all(side: Side) -> Rulings:
        """One side's value wherever the two differ, whoever has changed it."""
        return Rulings(*(lambda _: side,) * 3)


NOTHING_DECIDED = Rulings()


def by_elements(sides: Mapping[str, Side]) -> Decide:
    """Decided for some elements and all that is below them; of several the longest counts."""

    def decide(element: str) -> Side | None:
        fits = [known for known in sides if known == WHOLE or covers(known, element)]
        return sides[max(fits, key=lambda known: (known != WHOLE, len(known)))] if fits else None

    return decide


def covers(known: str, element: str) -> bool:
    """Whether an element is `known` or below it. A choice (``value[x]``) and each of its types are the same."""
    steps, wanted = element.split("."), known.split(".")
    return len(steps) >= len(wanted) and all(map(_alike, wanted, steps))


def told(elements: set[str]) -> tuple[str, ...]:
    """In order, without the types of a choice that is itself among them, and without what is below another."""
    return tuple(sorted(one for one in elements if not any(covers(o, one) and _goes_before(o, one) for o in elements)))


def _goes_before(other: str, element: str) -> bool:
    return other != element and (other.endswith("[x]") or other.count(".") < element.count("."))


def _alike(one: str, other: str) -> bool:
    return one == other or choice_of(one) == other or choice_of(other) == one
