"""Whatever a mapping's code raises is told without a value of the row, and what the surroundings throw goes on."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from medferry.mapping import Context, mapping
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.mapping.apply_inverse import InverseRefused, image_of
from medferry.mapping.context import MappingFault, MappingSettings
from medferry.mapping.declare import Resource, Row
from medferry.mapping.identity import Naming
from medferry.mapping.inverse import Columns, inverse
from medferry.mapping.inverse_context import InverseContext
from medferry.mapping.values import zone_of
from medferry.source.legacy_table import legacy_table

SECRET = "Lovelace"


class Mute(Exception):
    """Of a module."""


class Strange(BaseException):
    """As a task that is ended by Airflow; no line of mappings raises it here."""


def raised_by(raising: Callable[[str], BaseException]) -> MappedRow:
    def function(row: Row, _: Context) -> Iterator[Resource]:
        raise raising(row["family"])
        yield

    spec = mapping(entity="e", version="1", owner="o", produces={"main": "Patient"})(function)
    settings = MappingSettings(Naming("https://x.example", "m"), zone_of("UTC"), {}, {"e": spec})
    return apply_mapping(spec, {"family": SECRET}, "7", settings)


@pytest.mark.parametrize(
    ("raising", "told"),
    [
        (Mute, "Mute"),
        (GeneratorExit, "GeneratorExit"),
        (SystemExit, "SystemExit"),
        (type("Own", (BaseException,), {}), "an exception"),
        (lambda text: type(text, (Exception,), {})(), "an exception"),
        (lambda text: types.new_class(text, (KeyError,))(), "an exception"),
        (MappingFault, "MappingFault"),
        (lambda text: type("Told", (MappingFault,), {"__str__": lambda _: text})(), "an exception"),
    ],
)
def test_it_is_the_rows_outcome_and_says_nothing_of_it(raising: Callable[[str], BaseException], told: str) -> None:
    found = raised_by(raising)
    assert (found.disposition, found.reason) == ("quarantined", "mapping-error")
    assert found.place.startswith("test_raised.py:") and found.place.endswith(f" {told}")


@pytest.mark.parametrize("thrown", [KeyboardInterrupt, Strange])
def test_what_the_surroundings_throw_goes_on(thrown: type[BaseException]) -> None:
    with pytest.raises(thrown):
        raised_by(lambda _: thrown())


def test_a_value_of_a_class_that_code_has_made_is_not_told_by_its_name() -> None:
    def function(row: Row, _: Context) -> Any:
        return [type(row["family"], (), {})()]

    spec = mapping(entity="e", version="1", owner="o", produces={"main": "Patient"})(function)
    settings = MappingSettings(Naming("https://x.example", "m"), zone_of("UTC"), {}, {"e": spec})
    assert SECRET not in repr(apply_mapping(spec, {"family": SECRET}, "7", settings))


def test_an_inverse_ends_no_run_either() -> None:
    spec = mapping(entity="e", version="1", owner="o", produces={"main": "Patient"})(lambda _, ctx: [ctx.resource()])

    @inverse(entity="e", tables=[legacy_table("e", key="id", columns=("family",))])
    def back(resource: Resource, _: Row | None, __: InverseContext) -> Columns:
        raise GeneratorExit(resource["id"])

    settings = MappingSettings(Naming("https://x.example", "m"), zone_of("UTC"), {}, {"e": spec})
    with pytest.raises(InverseRefused) as refused:
        image_of(spec, back, "main", {"id": SECRET}, None, settings)
    assert SECRET not in repr(refused.value.refusal)
