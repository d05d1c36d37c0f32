"""What a dry run has found ready: the targets that a load would have, so that what refers to them can be judged.

They stand among the outcomes, under a word of their own, which no account counts; they go with their slice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from medferry.manifest.bulk import upsert
from medferry.manifest.crosswalk import Name, confirmed_by, find_targets
from medferry.manifest.runs import RunRow, find_run
from medferry.manifest.tables import outcome

FORESEEN = "foreseen"
"""A dry run's outcome of a target, beside the effects of a real one's."""


def record_foreseen(connection: sa.Connection, run_id: str, slice_id: str, entity: str, names: Iterable[Name]) -> None:
    """Note what a load would have brought into Medplum."""
    columns = ("run_id", "slice_id", "system", "value", "entity", "action")
    upsert(connection, outcome, columns, [(run_id, slice_id, *name, entity, FORESEEN) for name in names])


def foreseen(connection: sa.Connection, run: RunRow, names: Collection[Name]) -> set[Name]:
    """Those of `names` that stand in the crosswalk, or that a dry run has found ready.

    A dry run that replays another goes on from it, as a real one goes on from what a real one has loaded.
    """
    found = set(find_targets(connection, run.migration, names))
    before: RunRow | None = run
    while before is not None:
        found |= confirmed_by(connection, before.id, [name for name in names if name not in found])
        before = find_run(connection, before.replays) if before.replays else None
    return found
