"""The order of a migration, once: the command line acts on it, and the DAGs are drawn from it.

    stage → load → verify → conclude

Nothing is written to Medplum before everything is staged: a mapping that fails in the last entity stops a run before
its first write. Whatever fails on the way, the end is recorded, leases are given back, and then the report is written.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

Done = TypeVar("Done")
"""What an act returns for the next to wait for: nothing in one process, tasks in a DAG."""

READERS = 4
"""Slices of a run that are read from the legacy database at once, at most: it may still serve its users."""


class Acts(Protocol[Done]):
    """The acts of a migration whose run is prepared."""

    def stage(self) -> Done:
        """Extract and transform every slice."""

    def load(self, staged: Done) -> Done:
        """Load every slice, each when all that it refers to is loaded."""

    def verify(self, loaded: Done) -> Done:
        """Compare the legacy database, the manifest and Medplum."""

    def conclude(self, verified: Done) -> None:
        """Record the end of the run; fail unless it is proven."""


def migrate(acts: Acts[Done]) -> None:
    """Carry the acts out in their order."""
    acts.conclude(acts.verify(acts.load(acts.stage())))
