"""What refers to a resource that was made anew under another id: its records join the next cycle.

Somebody deleted the resource, and it was decided that the legacy row stands. What names the dead id is asked of
Medplum, before the run that made the new one ends: a kill in between asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import sqlalchemy as sa
from more_itertools import chunked

from medferry.apply.referrers import find_referrers
from medferry.fhir.references import by_type
from medferry.manifest import checkpoints
from medferry.manifest.known_lines import lines_of_ids
from medferry.manifest.replaced import replaced_by
from medferry.manifest.set_aside import set_changes_aside
from medferry.manifest.unchanged import forget_digests, forget_digests_of
from medferry.plan.questions import wave_ids
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

_IDS_AT_ONCE = 100

Followers = Mapping[str, set[str | None]]
"""Entity → source keys; None: all of them, where Medplum could not tell."""


def followers_of(wave: SyncedWave, run_id: str) -> Followers:
    """The records that refer to what a run has made anew. Raises MedplumUnavailable, Unauthorised."""
    environment, found = wave.environment, dict[str, set[str | None]]()
    with environment.manifest.begin() as connection:
        replaced = replaced_by(connection, environment.migration.name, run_id)
    if not replaced:
        return found
    with environment.medplum() as client:
        for resource_type, ids in replaced.items():
            for some in chunked(sorted(ids), _IDS_AT_ONCE):
                asked = find_referrers(client, resource_type, some)
                for entity in _untold(wave, asked.unchecked):
                    log.warning("What of %s refers to %s is not known: all of it is looked at.", entity, resource_type)
                    found.setdefault(entity, set()).add(None)
                places = (place.partition("/")[::2] for of_id in asked.found.values() for place in of_id)
                with environment.manifest.begin() as connection:
                    for kind, medplum_ids in by_type(places).items():
                        for line in lines_of_ids(connection, environment.migration.name, kind, medplum_ids):
                            found.setdefault(line.entity, set()).add(line.value)
    return found


def _untold(wave: SyncedWave, unchecked: Collection[str]) -> list[str]:
    """The entities that make a type of which not all could be searched (`Type?parameter`)."""
    kinds = {one.partition("?")[0] for one in unchecked}
    return [name for name, spec in wave.environment.migration.specs.items() if kinds & set(spec.produces.values())]


def note_followers(connection: sa.Connection, wave: SyncedWave, followers: Followers) -> None:
    """Have them taken along by the next cycle of whichever wave they are in, though their rows are as they were."""
    migration = wave.environment.migration
    for entity, keys in followers.items():
        if None in keys:
            forget_digests(connection, migration.name, [entity])
        forget_digests_of(connection, migration.name, entity, [key for key in keys if key is not None])
        for each in wave_ids(migration.plan):
            if checkpoints.newest(connection, migration.name, each) is not None:
                set_changes_aside(connection, migration.name, each, entity, "", {(entity, "", key) for key in keys})
