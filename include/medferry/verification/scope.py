"""What one verification is about: the run, its rows, and how much of it is to be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from medferry.definition.checks import EntityChecks
from medferry.manifest.runs import RunRow, slices_of
from medferry.manifest.tables import outcome, target
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions

_CONFIDENT = 3.0
"""Rule of three: no difference in n random rows means, with 95 % confidence, at most 3/n of all rows differ."""


class Sampling(BaseModel):
    """What the operator chose. A share of 1 compares the values of every row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_share: Annotated[float, Field(gt=0, le=1, description="Share of the rows whose values are compared.")] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, description="Of the sample; the same seed, the same rows.")] = 0
    validate_all: Annotated[
        bool, Field(description="Send every resource to $validate (20 points each), not a sample.")
    ] = False

    def takes(self, entity: str, key: str) -> bool:
        """Whether a row is in the sample: a function of seed, entity and key alone."""
        if self.sample_share == 1:
            return True
        digest = hashlib.sha256(f"{self.seed}/{entity}/{key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.sample_share * 2**64

    def bound(self, rows: int) -> str:
        """What a sample of `rows` without a difference says about all; empty when it was no sample."""
        return "" if self.sample_share == 1 else error_bound(rows, self.seed)


class VerifyOptions(Sampling):
    """What an operator may choose when starting a verification."""

    force: bool = Field(False, description="Begin again, also when one that died could go on.")


def error_bound(number: int, seed: int) -> str:
    """What a random sample says about all, when nothing in it differs."""
    says = f"at most {min(_CONFIDENT / number, 1):.2%} of all differ" if number else "nothing is known of the others"
    return f"Sample of {number:,}, seed {seed}: when none of them differs, {says} (95 % confidence)."


@dataclass(frozen=True)
class Scope:
    """The run under verification, with what its parts share. It opens nothing by itself."""

    environment: Environment
    run: RunRow
    options: RunOptions
    choice: Sampling

    @cached_property
    def keys(self) -> Mapping[str, frozenset[str]]:
        """Entity → the only source keys of a replay; entities that are not here are whole."""
        with self.environment.manifest.begin() as connection:
            slices = slices_of(connection, self.run.id)
        found: dict[str, set[str]] = {}
        whole = {one.entity for one in slices if one.keys is None}
        for one in slices:
            found.setdefault(one.entity, set()).update(str(key) for key in one.keys or ())
        return {entity: frozenset(keys) for entity, keys in found.items() if entity not in whole}

    def checks(self, entity: str) -> EntityChecks | None:
        return self.environment.migration.checks.entities.get(entity)

    def systems(self, entity: str) -> dict[str, str]:
        """Slot → identifier system of its resources."""
        produces = self.environment.migration.specs[entity].produces
        return {slot: self.environment.migration.naming.system(entity, slot) for slot in produces}

    def type_of(self, entity: str, slot: str) -> str:
        return self.environment.migration.specs[entity].produces[slot]

    def resources_of(self, entity: str) -> int:
        """How many resources of an entity the run has written or confirmed."""
        mine = sa.and_(outcome.c.run_id == self.run.id, outcome.c.entity == entity)
        with self.environment.manifest.begin() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(outcome).where(mine)) or 0

    def targets_of(self, system: str) -> int:
        """How many resources the crosswalk knows under a system, of all runs."""
        mine = sa.and_(target.c.migration == self.run.migration, target.c.system == system)
        with self.environment.manifest.begin() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(target).where(mine)) or 0
