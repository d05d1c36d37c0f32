"""The hold: what lets a worker write to the manifest now. Checked here alone, in the transaction that writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest import leases, runs
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
