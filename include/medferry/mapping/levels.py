"""The order of the load, computed from what the mappings declare that they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from medferry.mapping.declare import MappingSpec


class ReferenceCycle(ValueError):
    """Entities refer to each other in a ring, so none can be loaded first."""

    def __init__(self, ring: Iterable[str]) -> None:
        self.ring = list(ring)
        super().__init__(" → ".join(self.ring))


def load_levels(specs: Mapping[str, MappingSpec]) -> list[list[str]]:
    """Group entities into levels: each refers only to lower levels (and perhaps to itself).

    Raises ReferenceCycle.
    """
    sorter = TopologicalSorter({name: set(spec.references) - {name} for name, spec in specs.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise ReferenceCycle(error.args[1]) from error
    levels: list[list[str]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        levels.append(ready)
        sorter.done(*ready)
    return levels
