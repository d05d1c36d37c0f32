"""Whether what was sent to Medplum has come to its end: a batch without an answer may still change what is verified.

Notes of sent batches stay open until their end is known (`manifest.sent_batches`). While one is younger than the time
in which any server comes to a batch, nothing is proven yet; after that, what it named is looked up again for a day.
"""

from __future__ import annotations

from collections.abc import Iterable

from more_itertools import chunked, map_reduce

from medferry.fhir.identifiers import names_of
from medferry.manifest import sent_batches
from medferry.manifest.crosswalk import Action
from medferry.manifest.sent_batches import SentBatch, SentEntry
from medferry.medplum.client import PAGE, MedplumClient
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

AT_AN_END = "batches: at an end"


def examine_sent(scope: VerificationScope, client: MedplumClient, recorder: CheckRecorder) -> None:
    """Every batch of the subject's entities is at its end, and none that lost its answer has doubled anything since."""
    present = client.server_clock.now()
    with scope.environment.manifest.begin() as connection:
        ended = sent_batches.count_ended(connection, scope.migration.name, scope.entities)
        batches = sent_batches.open_batches(connection, scope.migration.name, scope.entities, present)
    recorder.expect(AT_AN_END)
    recorder.equal(AT_AN_END, ended)
    settle = scope.environment.settings.settle_seconds
    for batch in batches:
        if batch.age < batch.settles_after(settle):
            minutes = (batch.settles_after(settle) - batch.age) / 60
            recorder.settling(
                AT_AN_END, 1, f"A batch got no answer; its end is known in {minutes:.0f} min at the latest."
            )
    watched = [batch for batch in batches if batch.age >= batch.settles_after(settle)]
    entities = {entry.name: batch.entity for batch in watched for entry in batch.entries}
    doubled = _doubled(client, watched)
    recorder.equal(AT_AN_END, len(watched))
    for entry, ids in doubled:
        key = f"{entities[entry.name]}/{entry.value}"
        recorder.different(AT_AN_END, key, "identifier", "doubled", f"{entry.resource_type}/{ids[0]}")


def _doubled(client: MedplumClient, batches: Iterable[SentBatch]) -> list[tuple[SentEntry, list[str]]]:
    """Which of the watched creates stand in more than one resource, with these resources' ids."""
    creates = {entry.name: entry for batch in batches for entry in batch.entries if entry.action == Action.CREATE}
    ids: dict[tuple[str, str], list[str]] = {name: [] for name in creates}
    by_system = map_reduce(
        creates.values(), lambda entry: (entry.resource_type, entry.system), lambda entry: entry.value
    )
    for (resource_type, system), values in by_system.items():
        for some in chunked(values, PAGE // 2):
            for resource in client.by_name(resource_type, system, some):
                for name in names_of(resource):
                    if name in ids and resource["id"] not in ids[name]:
                        ids[name].append(resource["id"])
    return [(creates[name], found) for name, found in ids.items() if len(found) > 1]
