"""Look for all that the crosswalk has in Medplum, page by page: what no poll told, what was deleted, what was merged.

A page is the next 1,000 lines of a resource type in the order of their names, so that a pass goes on after any of them
and holds one in memory; 20 points for (id, version) of each, and a point for each that differs or is unseen: 20,000
points for a million resources that are in step. What has no line (a birth that no poll told) is found by
a walk: `medplum.changes.next_page` from the beginning, trimmed to `WALKED`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from medferry.manifest.crosswalk import Name
from medferry.manifest.known_lines import KnownLine, lines_behind
from medferry.medplum.changes import Change, PositionUnreadable
from medferry.medplum.client import PAGE, MedplumClient
from medferry.medplum.presence import Absence, look_for

WALKED = "id,identifier,meta"
"""What a walk asks of each resource: names and tags, id and version."""


@dataclass(frozen=True, slots=True)
class SweptPage:
    """What a page found; `changed` and `absent` are to be classified. `position` is "" when the pass is complete."""

    lines: int
    changed: Sequence[Change]
    absent: Mapping[KnownLine, Absence]
    unseen: int
    """Resources that no search showed and that are there: no deletions."""
    merged: Sequence[KnownLine]
    """Of those in the known version, the ones that say more than the mapping made: the row may not say it yet."""
    position: str

    @property
    def complete(self) -> bool:
        return not self.position


def sweep_page(
    manifest: sa.Engine, client: MedplumClient, migration: str, resource_type: str, position: str, size: int = PAGE
) -> SweptPage:
    """Look for the lines behind a position ("": from the first). Nothing is written, so a page may be looked at again.

    Raises PositionUnreadable, Unauthorised.
    """
    behind = _name(position)
    with manifest.begin() as connection:
        lines = lines_behind(connection, migration, resource_type, behind, size)
    by_id: dict[str, list[KnownLine]] = {}
    for line in lines:
        by_id.setdefault(line.medplum_id, []).append(line)
    presence = look_for(client, resource_type, list(by_id)) if by_id else None
    following = orjson.dumps(lines[-1].name).decode() if len(lines) == size else ""
    if presence is None:
        return SweptPage(0, [], {}, 0, [], following)
    others = [one for one, version in presence.versions.items() if {version} != {x.version_id for x in by_id[one]}]
    absent = {line: absence for one, absence in presence.absent.items() for line in by_id[one]}
    merged = [x for x in lines if x.wanted_hash is not None and presence.versions.get(x.medplum_id) == x.version_id]
    changed = _whole(client, resource_type, others)
    return SweptPage(len(lines), changed, absent, len(presence.unseen), merged, following)


def _whole(client: MedplumClient, resource_type: str, ids: Sequence[str]) -> list[Change]:
    """The resources of some ids as they are now; one that was deleted meanwhile is for the next pass."""
    read = client.read_each([(resource_type, one) for one in ids]) if ids else {}
    return [Change.of(json.loads(text)) for _, text in read.values()]


def _name(position: str) -> Name | None:
    if not position:
        return None
    try:
        system, value = orjson.loads(position)
        return str(system), str(value)
    except (TypeError, ValueError):
        raise PositionUnreadable("A kept position of a sweep cannot be read.", "Begin the pass anew.") from None
