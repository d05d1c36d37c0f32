"""Errors travel between processes: each can be pickled, with its text and its attributes."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medferry
from medferry.errors import DefinitionError, MedferryError
from medferry.medplum.budget import QuotaTooSmall
from medferry.medplum.errors import Throttled

ARGUMENTS: dict[type[MedferryError], tuple[Any, ...]] = {
    DefinitionError: (Path("plan.yaml"), 3, "a unit appears twice.", "Remove one of the two."),
    Throttled: (42.5,),
    QuotaTooSmall: (100_000, 0, 49_999),
}
"""Of the errors that are not made of a problem and a remedy."""


def import_all(package: Any) -> None:
    """Import every module of a package, so that all of its errors are known."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__") and ".revisions" not in module.name:
            importlib.import_module(module.name)


def kinds(of: type[MedferryError] = MedferryError) -> Iterator[type[MedferryError]]:
    """`of` and all types of errors derived from it, as far as they have been imported."""
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def assert_travels(kind: type[MedferryError]) -> None:
    """An error of that type is the same after a journey through pickle."""
    error = kind(*ARGUMENTS.get(kind, ("The disk is full.", "Make space.")))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


import_all(medferry)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_an_error_can_be_pickled_with_its_text_and_attributes(kind: type[MedferryError]) -> None:
    assert_travels(kind)


def test_the_special_ones_are_among_them() -> None:
    assert set(ARGUMENTS) <= set(kinds())


def test_a_pickled_error_still_tells_where_and_how_long() -> None:
    definition = pickle.loads(pickle.dumps(DefinitionError(*ARGUMENTS[DefinitionError])))
    assert (definition.path, definition.line) == (Path("plan.yaml"), 3)
    assert str(definition) == "plan.yaml:3: a unit appears twice. What to do: Remove one of the two."
    throttled = pickle.loads(pickle.dumps(Throttled(42.5)))
    assert throttled.seconds == 42.5
    assert "for 42 s" in str(throttled)
