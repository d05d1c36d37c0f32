"""The routing document: which system serves the reads of a unit and domain, and which takes its writes. Pure.

What it says of a unit follows from the epoch of the unit's gate, and changes only when that does, at the flip. During
a freeze it stays as it was: a writer is refused by the gate, reads the routing anew, and repeats what it wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medferry.errors import MedferryError
from medferry.fhir.sides import Side
from medferry.plan.authority import Name, UnitId

ALL_OTHER = "all-other"
"""The domain of what no domain of the plan names. No domain can be called so."""

Domain = Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,39}|all-other)$")]


class Writes(StrEnum):
    """Which system takes the writes of a unit and domain."""

    LEGACY = "legacy"
    MEDPLUM = "medplum"
    BOTH = "both"
    """Either may be written: the plan has two writers of it."""


class StaleRouting(MedferryError):
    """What is to be published was decided on an older epoch than what is published. Nothing was changed."""


class ForeignRouting(MedferryError):
    """What is published belongs to another migration, or is no routing document. Nothing was changed."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Route(_Part):
    """Where the users of one unit and domain go."""

    unit: UnitId
    domain: Domain
    reads: Side
    writes: Writes
    epoch: Annotated[int, Field(ge=0)]
    """Of the unit's gate; each flip, there or back, is the next."""

    @property
    def place(self) -> tuple[str, str]:
        return self.unit, self.domain


class Routing(_Part):
    """All routes of a migration, by unit and domain. `version` grows with each change of what is published."""

    migration: Name
    version: Annotated[int, Field(ge=1)] = 1
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_place_once(self) -> Self:
        places = [route.place for route in self.routes]
        if places != sorted(set(places)):
            raise ValueError("the routes must stand in the order of unit and domain, each once")
        domains = {route.domain for route in self.routes}
        if len(places) != len(domains) * len({route.unit for route in self.routes}):
            raise ValueError("every unit must have a route of every domain")
        epochs = {(route.unit, route.epoch) for route in self.routes}
        if len(epochs) != len({unit for unit, _ in epochs}):
            raise ValueError("the routes of one unit must have one epoch")
        return self

    @classmethod
    def of(cls, migration: str, routes: Iterable[Route], version: int = 1) -> Routing:
        """Raises ValidationError."""
        return cls(migration=migration, version=version, routes=tuple(sorted(routes, key=lambda route: route.place)))

    @property
    def domains(self) -> list[str]:
        return sorted({route.domain for route in self.routes})

    def of_domain(self, domain: str) -> list[Route]:
        """The routes of a domain, by unit."""
        return [route for route in self.routes if route.domain == domain]

    def route(self, unit: str, domain: str) -> Route:
        """Raises KeyError where the plan has no such unit or domain."""
        return {route.place: route for route in self.routes}[unit, domain]

    @property
    def digest(self) -> str:
        """SHA-256 of the whole document, in hexadecimal: two that have it in common say the same."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def replaced(present: Routing | None, new: Routing) -> Routing:
    """What is published after `new` was decided on: `present` itself where it says the same, else at the next version.

    Raises StaleRouting when a unit is published at a later epoch than `new` knows of, ForeignRouting.
    """
    if present is None:
        return new.model_copy(update={"version": 1})
    if present.migration != new.migration:
        raise ForeignRouting(
            f"The routing that is published belongs to {present.migration}, not to {new.migration}.",
            "Give each migration a file of its own (MEDFERRY_ROUTING_FILE).",
        )
    epochs = {route.unit: route.epoch for route in new.routes}
    for route in present.routes:
        if epochs.get(route.unit, route.epoch) < route.epoch:
            raise StaleRouting(
                f"The routing of {route.unit} is published at epoch {route.epoch}, and this was decided on epoch "
                f"{epochs[route.unit]}.",
                "Look at the gates (`medferry gate show`). If they were made anew, remove the file and publish again.",
            )
    if present.routes == new.routes:
        return present
    return new.model_copy(update={"version": present.version + 1})
