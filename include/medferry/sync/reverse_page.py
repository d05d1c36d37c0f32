"""Read the next page of what changed in Medplum: of our own writes, names and versions alone.

An overlap shows the last minutes again and again, and most of what it shows is what we wrote.
"""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from medferry.manifest.known_lines import lines_of_names
from medferry.medplum.changes import Change, ChangePage, ChangePosition, next_page, whole_changes
from medferry.medplum.client import MedplumClient
from medferry.sync.reverse import Ours
from medferry.sync.reverse_sweep import WALKED


def page_of_changes(
    manifest: sa.Engine, client: MedplumClient, ours: Ours, resource_type: str, position: ChangePosition, first: bool
) -> ChangePage:
    """The changes that follow a position, whole but for those that the crosswalk has in that very version.

    To be read before `classify` reads notes and lines. A change may come in a later version than the page had. On the
    `first` walk, which goes through all that there is, none is whole: nothing of it is a birth. Raises as `next_page`.
    """
    page = next_page(client, resource_type, position, WALKED)
    if first:
        return page
    names = {name for one in page.changes for name in ours.names(one.resource)}
    with manifest.begin() as connection:
        known = {(line.medplum_id, line.version_id) for line in lines_of_names(connection, ours.migration, names)}
    others = [one for one in page.changes if (one.id, one.version_id) not in known]
    whole = {one.id: one for one in whole_changes(client, resource_type, [one.id for one in others])}
    # What one search shows and another does not, or only as it was, may be deleted, or hidden for a moment: the page
    # is read again as a whole, so that its position stands for what was seen.
    if not all(_is_as_new(whole.get(one.id), one) for one in others):
        return next_page(client, resource_type, position)
    return replace(page, changes=[whole.get(one.id, one) for one in page.changes])


def _is_as_new(found: Change | None, told: Change) -> bool:
    """Whether it is the version that was told, or a later one: of two in one millisecond, the times do not say."""
    return found is not None and (found.version_id == told.version_id or found.at > told.at)
