"""Deal with leftovers as the plan says, once a person asks for it; what happens to each is told.

find → judge by the legacy rows → by the manifest → by contents → by references (→ act_on_leftovers)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
import sqlalchemy as sa
from more_itertools import chunked, map_reduce

from medferry.apply.foreign_documents import leads_elsewhere, own_storages
from medferry.apply.leftovers import Resource, Stays, judge_references, judge_standing
from medferry.apply.mentions import find_mentions
from medferry.apply.reason import Reason
from medferry.apply.twins import References, version_of
from medferry.fhir.additions import storages
from medferry.fhir.identifiers import identifiers_of
from medferry.manifest.crosswalk import Action, owners_of_ids
from medferry.manifest.leftover_acts import inactivated
from medferry.manifest.leftovers import OF_ROWS, Leftover, LeftoverKind, in_use, leftovers
from medferry.manifest.sent_batches import open_batches
from medferry.manifest.unit_state import states_of
from medferry.medplum.client import MedplumClient
from medferry.plan.model import LeftoverPolicy
from medferry.runtime.environment import Environment
from medferry.runtime.known_keys import refuse_other_keys
from medferry.runtime.legacy_home import check_read
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot
from medferry.source.lookup import stream_keys, units_of_keys

ACTS = {LeftoverPolicy.REMOVE: Action.REMOVE, LeftoverPolicy.INACTIVATE: Action.INACTIVATE}
"""Policy → what is sent to Medplum."""

_AT_ONCE = 50
"""Leftovers that are looked at together."""


@dataclass(frozen=True, slots=True)
class LeftoverFinding:
    """A leftover, what the plan says of it, and why it stays as it is. Without a reason it was dealt with, or would be.

    `resource` is what was looked at, None where it could not be read.
    """

    leftover: Leftover
    policy: LeftoverPolicy
    reason: Reason | None = None
    resource: Resource | None = None
    referrers: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        return version_of(self.resource or {})


def find_leftovers(
    environment: Environment, client: MedplumClient, alive: Callable[[], None] = lambda: None
) -> list[LeftoverFinding]:
    """Every leftover in Medplum that is to be removed or inactivated, and was not yet, with what keeps it.

    `alive` is called while Medplum is read, which may take long, and may raise. Raises SourceUnavailable, SourceError,
    OtherSystem, SourceBehind, Rekeyed, and what Medplum raises when it cannot be looked at.
    """
    candidates = _candidates(environment)
    unsettled = _rows_to_run(environment, candidates)
    found: list[LeftoverFinding] = []
    for _, of_type in sorted(map_reduce(candidates, lambda one: one.resource_type).items()):
        for group in chunked(of_type, _AT_ONCE):
            found += _standing(environment, client, group, unsettled)
    return _referred_to(client, found, alive)


def _candidates(environment: Environment) -> list[Leftover]:
    """By the manifest and, for rows that have vanished, by the source."""
    migration = environment.migration
    plan = migration.plan
    found: list[Leftover] = []
    for page in leftovers(environment.manifest, migration.name, migration.slots, plan.unit_ids, skipped=True):
        found += _not_inactivated(environment, [one for one in page if plan.leftovers_of(one.entity) in ACTS])
    with snapshot(environment.source) as source:
        check_read(environment, source)
        refuse_other_keys(environment, source, migration.entities.keys())
        for entity in migration.entities:
            if plan.leftovers_of(entity) in ACTS:
                found += _gone(environment, source, entity)
    return found


def _not_inactivated(environment: Environment, found: Sequence[Leftover]) -> list[Leftover]:
    with environment.manifest.begin() as connection:
        done = inactivated(connection, environment.migration.name, [one.medplum_id for one in found])
    return [one for one in found if one.medplum_id not in done]


def _gone(environment: Environment, source: sa.Connection, entity: str) -> Iterator[Leftover]:
    migration = environment.migration
    pages = in_use(environment.manifest, migration.name, migration.slots, migration.plan.unit_ids, entity)
    for page in pages:
        keys = sorted({one.key for one in page})
        there = units_of_keys(source, migration.entities[entity], keys)
        yield from _not_inactivated(environment, [one for one in page if one.key not in there])


def _rows_to_run(environment: Environment, found: Iterable[Leftover]) -> dict[tuple[str, str], Stays]:
    """(entity, key) of those whose row, as it is now, no run has decided by these files: it may make them again."""
    migration, unsettled = environment.migration, dict[tuple[str, str], Stays]()
    of_rows = [one for one in found if one.kind in OF_ROWS]
    with snapshot(environment.source) as source, environment.manifest.connect() as connection:
        for name, of_entity in map_reduce(of_rows, lambda one: one.entity).items():
            entity, kinds = migration.entities[name], {one.key: one.kind for one in of_entity}
            if LeftoverKind.GONE in kinds.values() and _is_empty(environment, source, name):
                unsettled |= {(name, key): Stays.SOURCE_EMPTY for key in kinds}
                continue
            there = units_of_keys(source, entity, list(kinds))
            rows = stream_keys(source, entity, migration.plan.unit_ids, list(there))
            digests = {entity.ledger_key_of(row): row_digest(dump_row(row)) for row in rows}
            states = states_of(connection, migration.name, name, list(there))
            for key in there:
                state = states.get(key)
                decided = state and (state.source_digest, state.fingerprint) == (
                    digests.get(key),
                    migration.fingerprint,
                )
                if not decided or kinds[key] is LeftoverKind.GONE:
                    unsettled[name, key] = Stays.ROW_CHANGED
    return unsettled


def _standing(
    environment: Environment,
    client: MedplumClient,
    group: Sequence[Leftover],
    unsettled: dict[tuple[str, str], Stays],
) -> Iterator[LeftoverFinding]:
    """What becomes of some leftovers of one type by what the manifest and Medplum have of them; those that are gone
    are left out."""
    gone: set[str] = set()
    texts = client.read_each([(one.resource_type, one.medplum_id) for one in group], gone, extended=True)
    with environment.manifest.begin() as connection:
        batches = open_batches(connection, environment.migration.name, server_now=client.server_clock.now())
        owners = owners_of_ids(connection, [one.medplum_id for one in group])
    settling = {entry.name for batch in batches for entry in batch.entries if entry.action not in ACTS.values()}
    own = _own_storages(client, group, texts)
    for one in group:
        if one.medplum_id in gone:
            continue
        policy = environment.migration.plan.leftovers_of(one.entity)
        standing = _parsed(texts[one.medplum_id][1]) if one.medplum_id in texts else None
        known = owners.get(one.medplum_id, ())
        reason = judge_standing(one, policy, standing, settling, known, environment.migration.name)
        if reason is None and standing and leads_elsewhere(storages(standing[0]), own.get(one.medplum_id, frozenset())):
            reason = Reason(Stays.CHANGED)
        if stays := unsettled.get((one.entity, one.key)) if one.kind in OF_ROWS else None:
            reason = Reason(stays)
        yield LeftoverFinding(one, policy, reason, standing[0] if standing else None)


def _own_storages(
    client: MedplumClient, group: Sequence[Leftover], texts: Mapping[str, tuple[str, bytes]]
) -> dict[str, frozenset[str] | None]:
    """Of those that stand in another version than we wrote, with signed URLs: where Medplum keeps its own files."""
    moved = [one for one in group if texts.get(one.medplum_id, (one.version_id,))[0] != one.version_id]
    signed = [one for one in moved if (parsed := _parsed(texts[one.medplum_id][1])) and storages(parsed[0])]
    return own_storages(client, [(one.resource_type, one.medplum_id, one.version_id) for one in signed])


def _parsed(text: bytes) -> tuple[Resource, bytes] | None:
    try:
        return orjson.loads(text), text
    except ValueError:  # a lone surrogate, which was not sent from here
        return None


def _referred_to(
    client: MedplumClient, found: Sequence[LeftoverFinding], alive: Callable[[], None]
) -> list[LeftoverFinding]:
    """Keep what something that stays refers to. What is to be removed, too, does not stay, and goes first."""
    removed = [one for one in found if one.policy is LeftoverPolicy.REMOVE and one.reason is None]
    seen = find_mentions(client, {one.leftover.place: _identifiers(one.resource) for one in removed}, alive)
    references = {one.leftover.place: seen for one in removed}
    reasons: dict[str, Reason] = {}
    while new := _staying(references, references.keys() - reasons.keys()):
        reasons |= new
    going = references.keys() - reasons.keys()
    return [_with_references(one, references, reasons, going) for one in found]


def _identifiers(resource: Resource | None) -> list[tuple[str, str]]:
    """By what others may mean it, besides its id: (system, value)."""
    pairs = [(one.get("system", ""), one.get("value", "")) for one in identifiers_of(resource or {})]
    return [(system, value) for system, value in pairs if isinstance(system, str) and isinstance(value, str)]


def _staying(references: dict[str, References], going: Collection[str]) -> dict[str, Reason]:
    judged = {place: judge_references(place, references[place], going) for place in going}
    return {place: reason for place, reason in judged.items() if reason is not None}


def _with_references(
    finding: LeftoverFinding, references: dict[str, References], reasons: dict[str, Reason], going: Collection[str]
) -> LeftoverFinding:
    place = finding.leftover.place
    if place not in references:
        return finding
    referrers = frozenset(references[place].found.get(place, ())) & set(going) - {place}
    return replace(finding, reason=reasons.get(place), referrers=referrers)


def _is_empty(environment: Environment, source: sa.Connection, entity: str) -> bool:
    """Whether the legacy database has no row of an entity at all: it may be the wrong one."""
    counts = count_by_unit(source, environment.migration.entities[entity], environment.migration.plan.unit_ids)
    return not sum(counts.values())
