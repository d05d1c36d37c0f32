"""Find twins, judge them, and remove those that are provably ours; nothing is removed unless it is asked for.

find → judge by the manifest → by contents → by authors → all by references → look again → note → delete → note
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import orjson
from more_itertools import chunked

from medferry.apply.mentions import find_mentions
from medferry.apply.reason import Reason
from medferry.apply.twins import (
    Kept,
    Seen,
    Twin,
    judge_authors,
    judge_contents,
    judge_names,
    judge_references,
    version_of,
)
from medferry.errors import TransientError
from medferry.fhir.identifiers import names_of
from medferry.manifest.crosswalk import (
    Action,
    Attempt,
    CrosswalkEntry,
    Name,
    find_targets,
    ids_in_crosswalk,
    record_attempts,
    resource_pages,
    systems_of,
)
from medferry.manifest.sent_batches import open_batches
from medferry.medplum import budget as points
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import NotFound, NoVerdict
from medferry.runtime.claim import hold_claim
from medferry.runtime.environment import Environment
from medferry.runtime.hold import WholeHold, holding_everything
from medferry.runtime.systems import check_medplum

_AT_ONCE = 50
"""Twins that are judged together."""

_NAMES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """A twin, and why it stays. Without a reason it was removed, or would be: `version` is what was looked at."""

    twin: Twin
    reason: Reason | None = None
    version: str = ""


def heal(environment: Environment, holder: str, apply: bool) -> Iterator[Finding]:
    """Judge every twin in Medplum of what the crosswalk knows and, with `apply`, remove those that are provably ours.

    Each is told when it is done with: what was removed before a failure is known. `holder` names this act in leases
    and attempts. Raises LeaseHeld while a run is at work (`apply`), LeaseLost, OtherSystem, OtherManifest, and what
    Medplum raises when twins cannot be looked for.
    """
    with environment.medplum() as client:
        check_medplum(environment, client)
        if not apply:
            yield from _findings(environment, client)
            return
        hold_claim(environment, client)
        with holding_everything(environment, holder) as hold:
            for finding in _findings(environment, client, hold):
                yield finding if finding.reason else _remove(hold, client, finding)


def _findings(environment: Environment, client: MedplumClient, hold: WholeHold | None = None) -> list[Finding]:
    """Every twin, judged; references to all of them are looked for at once."""
    alive = hold.keep if hold else lambda: None  # to look may take long
    ours, found = client.profile(), list[Finding]()
    for _, twins in groupby(_twins(environment, client), lambda twin: (twin.name[0], twin.known.resource_type)):
        for group in chunked(twins, _AT_ONCE):
            alive()
            found += _judged(environment, client, group, ours)
    return _referred_to(client, found, alive)


def _referred_to(client: MedplumClient, found: Sequence[Finding], alive: Callable[[], None]) -> list[Finding]:
    """Keep what something refers to. Not by its identifier alone: that means the one that stays, too."""
    references = find_mentions(client, {each.twin.place: () for each in found if each.reason is None}, alive)
    return [replace(each, reason=each.reason or judge_references(each.twin, references)) for each in found]


def _twins(environment: Environment, client: MedplumClient) -> Iterator[Twin]:
    """What Medplum has under names of the crosswalk besides what the crosswalk knows, by system and type."""
    migration = environment.migration.name
    with environment.manifest.begin() as connection:
        systems = systems_of(connection, migration)
    for entity, system in systems:
        for page in resource_pages(environment.manifest, migration, system):
            with environment.manifest.begin() as connection:
                targets = find_targets(connection, migration, [(system, key) for key in page.values()])
            for known in _by_type(targets).values():
                for keys in chunked(sorted(known), _NAMES_AT_ONCE):
                    yield from _twins_of(client, entity, system, {key: known[key] for key in keys})


def _by_type(targets: dict[Name, CrosswalkEntry]) -> dict[str, dict[str, CrosswalkEntry]]:
    """Resource type → key → what the crosswalk knows of it."""
    found: dict[str, dict[str, CrosswalkEntry]] = {}
    for (_, key), entry in sorted(targets.items()):
        found.setdefault(entry.resource_type, {})[key] = entry
    return found


def _twins_of(client: MedplumClient, entity: str, system: str, known: dict[str, CrosswalkEntry]) -> Iterator[Twin]:
    """The twins of some resources of one type, each once."""
    resource_type = next(iter(known.values())).resource_type
    for resource in client.by_name(resource_type, system, list(known)):
        keys = [value for its_system, value in names_of(resource) if its_system == system]
        key = next((key for key in keys if key in known and known[key].medplum_id != resource["id"]), None)
        if key is not None:
            yield Twin(entity, (system, key), resource["id"], known[key])


def _judged(environment: Environment, client: MedplumClient, twins: Sequence[Twin], ours: str) -> list[Finding]:
    """What becomes of some twins of one type by all but what refers to them."""
    with environment.manifest.begin() as connection:
        batches = open_batches(connection, environment.migration.name, server_now=client.server_clock.now())
        known_ids = ids_in_crosswalk(connection, [twin.medplum_id for twin in twins])
    settling = {entry.name for batch in batches for entry in batch.entries}
    standing = _read(client, twins)
    findings = []
    for twin in twins:
        resource = standing.get(twin.medplum_id)
        reason = judge_names(twin, resource, settling, known_ids) or _judge_both(client, twin, standing, ours)
        findings.append(Finding(twin, reason, version_of(resource or {})))
    return findings


def _judge_both(client: MedplumClient, twin: Twin, standing: dict[str, dict[str, Any]], ours: str) -> Reason | None:
    seen = Seen(standing.get(twin.medplum_id), standing.get(twin.known.medplum_id), ((), ()), ours)
    if reason := judge_contents(twin, seen):
        return reason
    try:
        both = [client.history(twin.known.resource_type, id_) for id_ in (twin.medplum_id, twin.known.medplum_id)]
    except (NotFound, NoVerdict):
        return Reason(Kept.AUTHOR_UNKNOWN)
    return judge_authors(Seen(seen.twin, seen.known, (both[0], both[1]), ours))


def _read(client: MedplumClient, twins: Sequence[Twin]) -> dict[str, dict[str, Any]]:
    """id → resource of the twins and of what the crosswalk knows, as they stand; what cannot be read is missing."""
    ids = {id_ for twin in twins for id_ in (twin.medplum_id, twin.known.medplum_id)}
    texts = client.read_each([(twins[0].known.resource_type, id_) for id_ in sorted(ids)])
    return {id_: orjson.loads(text) for id_, (_, text) in texts.items()}


def _remove(hold: WholeHold, client: MedplumClient, finding: Finding) -> Finding:
    """Delete the version that was judged, if both still stand as they did; noted before it is sent, and after."""
    twin = finding.twin
    standing = {id_: version_of(resource) for id_, resource in _read(client, [twin]).items()}
    expected = {twin.medplum_id: finding.version, twin.known.medplum_id: twin.known.version_id}
    if standing != expected:  # before 5.2 a server ignores the condition of a DELETE
        return Finding(twin, Reason(Kept.CHANGED_SINCE), finding.version)
    _note(hold, twin, 0)
    request = {"method": "DELETE", "url": twin.place, "ifMatch": f'W/"{finding.version}"'}
    try:
        [outcome] = client.batch([{"request": request}], points.WRITE)
    except TransientError:
        return Finding(twin, Reason(Kept.NO_ANSWER), finding.version)
    _note(hold, twin, outcome.status)
    if outcome.status in (200, 204):
        return finding
    if outcome.status in (404, 410, 412):
        return Finding(twin, Reason(Kept.CHANGED_SINCE), finding.version)
    return Finding(twin, Reason(Kept.REFUSED, outcome.issue), finding.version)


def _note(hold: WholeHold, twin: Twin, status: int) -> None:
    """Write down that the twin is about to be deleted (status 0), or what became of it. Raises LeaseLost."""
    with hold.writing() as connection:
        record_attempts(connection, hold.holder, "", [Attempt(*twin.name, Action.HEAL, status, f"DELETE {twin.place}")])
