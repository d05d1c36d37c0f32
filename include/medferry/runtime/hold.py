"""The hold: what lets a worker write to the manifest now. Checked here alone, in the transaction that writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest import leases, runs
from medferry.manifest.crosswalk import systems_of
from medferry.manifest.runs import RunRow, SliceRow
from medferry.runtime.environment import Environment, scopes_of


@dataclass(frozen=True, slots=True)
class Hold:
    """A worker's right to write for `run`, and for `slice` in the fence and stage in which it was read.

    It lasts until another worker takes the slice or gets further with it, or another run takes a scope over. A dry
    run holds no leases.
    """

    environment: Environment
    run: RunRow
    slice: SliceRow | None = None

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that nobody else can take the slice or the leases away from before it ends; it renews them.

        Raises LeaseLost, before anything is written, when somebody has.
        """
        with self.environment.manifest.begin() as connection:
            if self.slice is not None:
                runs.check_slice(connection, self.slice)
            if not self.run.options.get("dry_run"):
                leases.check(connection, self.run.migration, self.run.id, scopes_of(self.run))
            yield connection

    def keep(self) -> None:
        """Renew the leases while nothing is written. Raises LeaseLost."""
        with self.writing():
            pass


@dataclass(frozen=True, slots=True)
class WholeHold:
    """The right of an act that is no run to write to anything of the migration: while it holds, no run begins."""

    environment: Environment
    holder: str
    scopes: tuple[str, ...]

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """As that of `Hold`. Raises LeaseLost."""
        with self.environment.manifest.begin() as connection:
            leases.check(connection, self.environment.migration.name, self.holder, self.scopes)
            yield connection

    def keep(self) -> None:
        """Renew the leases while nothing is written. Raises LeaseLost."""
        with self.writing():
            pass


@contextmanager
def holding_everything(environment: Environment, holder: str) -> Iterator[WholeHold]:
    """Hold every unit and entity of the plan and the crosswalk. Raises LeaseHeld while a run is at work on any."""
    migration = environment.migration
    with environment.manifest.begin() as connection:
        entities = {*migration.entities, *(entity for entity, _ in systems_of(connection, migration.name))}
        scopes = tuple(sorted(f"{unit}/{entity}" for unit in migration.plan.unit_ids for entity in entities))
        leases.acquire(connection, migration.name, holder, scopes)
    try:
        yield WholeHold(environment, holder, scopes)
    finally:
        with environment.manifest.begin() as connection:
            leases.release(connection, holder)
