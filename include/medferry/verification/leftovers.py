"""Leftovers: whatever Medplum has of this migration that the present plan, or the newest run, does not make.

The crosswalk says what was once written; Medplum is asked whether it is there still, and what else carries the
migration's tag. The plan's policy decides: `report` makes each a difference, `keep` only counts them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from more_itertools import chunked, map_reduce

from medferry.errors import MedferryError
from medferry.fhir.identifiers import parameter_of
from medferry.fhir.references import system_token
from medferry.manifest import uploads
from medferry.manifest.leftover_acts import inactivated, inactivations
from medferry.manifest.leftovers import Leftover, known_types, leftovers
from medferry.manifest.replaced import known_ids
from medferry.medplum.client import EXACT_BELOW, PAGE, MedplumClient
from medferry.plan.model import LeftoverPolicy
from medferry.verification.identity import values_of
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

LEFT, TAGGED = "leftovers: written before, not made any more", "leftovers: tagged, unknown to the manifest"
INACTIVE = "leftovers: inactivated, as it was left"
UPLOADED = "leftovers: documents that were sent without an answer"


def examine_leftovers(scope: VerificationScope, client: MedplumClient, recorder: CheckRecorder) -> int:
    """Judge all of the subject's; returns how many resources were looked for."""
    recorder.expect(LEFT)
    recorder.expect(INACTIVE)
    recorder.expect(TAGGED)
    looked = 0
    _documents(scope, recorder)
    migration = scope.migration
    for page in leftovers(scope.environment.manifest, migration.name, migration.slots, migration.plan.unit_ids):
        mine = [leftover for leftover in page if _is_mine(scope, leftover)]
        looked += len(mine)
        _judge(scope, client, mine, recorder)
    _inactivated(scope, client, recorder)
    if _is_everything(scope):
        for resource_type in sorted(_types(scope)):
            _tagged(scope, client, resource_type, recorder)
    return looked


def _is_everything(scope: VerificationScope) -> bool:
    """Whether the subject is of all entities: only then what belongs to none of them is its concern."""
    named = scope.run.entities if scope.run else scope.subject.entities
    return not scope.keys and (not named or set(named) >= set(scope.migration.specs))


def _is_mine(scope: VerificationScope, leftover: Leftover) -> bool:
    if leftover.entity in scope.keys:
        return leftover.key in scope.keys[leftover.entity]
    of_no_unit = leftover.unit not in scope.migration.plan.unit_ids
    if leftover.entity not in scope.migration.specs or of_no_unit:
        return _is_everything(scope)
    return leftover.unit in scope.units.get(leftover.entity, ())


def _judge(scope: VerificationScope, client: MedplumClient, found: Iterable[Leftover], recorder: CheckRecorder) -> None:
    """Those of some leftovers that Medplum still has."""
    by_type: dict[str, list[Leftover]] = defaultdict(list)
    for leftover in found:
        by_type[leftover.resource_type].append(leftover)
    for resource_type, of_type in by_type.items():
        for page in chunked(of_type, PAGE):
            try:
                there = client.versions(resource_type, [leftover.medplum_id for leftover in page])
            except MedferryError as error:
                recorder.unchecked(LEFT, len(page), error.problem, *(f"{one.entity}/{one.key}" for one in page))
                continue
            with scope.environment.manifest.begin() as connection:
                done = inactivated(connection, scope.migration.name, [leftover.medplum_id for leftover in page])
            for leftover in page:
                left = leftover.medplum_id in there and leftover.medplum_id not in done
                kind, key = leftover.kind if left else None, f"{leftover.entity}/{leftover.key}"
                _tell(scope.migration.plan.leftovers_of(leftover.entity), recorder, LEFT, key, kind, leftover.place)


def _inactivated(scope: VerificationScope, client: MedplumClient, recorder: CheckRecorder) -> None:
    """What was inactivated is in Medplum in the version that says so, if it is there."""
    for page in inactivations(scope.environment.manifest, scope.migration.name):
        for resource_type, of_type in map_reduce(page, lambda one: one.resource_type).items():
            try:
                there = client.versions(resource_type, [one.medplum_id for one in of_type])
            except MedferryError as error:
                recorder.unchecked(
                    INACTIVE, len(of_type), error.problem, *(f"{one.entity}/{one.value}" for one in of_type)
                )
                continue
            for one in of_type:
                changed = there.get(one.medplum_id, one.version_id) != one.version_id
                place = f"{resource_type}/{one.medplum_id}"
                recorder.judge(INACTIVE, f"{one.entity}/{one.value}", "", "changed since" if changed else None, place)


def _documents(scope: VerificationScope, recorder: CheckRecorder) -> None:
    """No document was sent of which nobody knows whether Medplum keeps it: it searches no Binary."""
    migration, run_id = scope.migration.name, scope.run.id if scope.run else None
    with scope.environment.manifest.begin() as connection:
        proven = uploads.count_proven(connection, migration, scope.entities)
        lost = uploads.unanswered(connection, migration, scope.entities, run_id)
    if proven or lost:
        recorder.expect(UPLOADED)
        recorder.equal(UPLOADED, proven)
    for entity, key in lost:
        policy = scope.migration.plan.leftovers_of(entity)
        _tell(policy, recorder, UPLOADED, f"{entity}/{key}", "may be left over", "Binary")


def _types(scope: VerificationScope) -> set[str]:
    with scope.environment.manifest.begin() as connection:
        known = known_types(connection, scope.migration.name)
    return {kind for spec in scope.migration.specs.values() for kind in spec.produces.values()} | known.keys()


def _tagged(scope: VerificationScope, client: MedplumClient, resource_type: str, recorder: CheckRecorder) -> None:
    """What carries the migration's tag is in the crosswalk. Under the plan's systems the identifiers were judged.

    When all that carries it carries such an identifier, nothing else can be there; otherwise each is compared by its
    id. How many the crosswalk has says nothing: of these some may be gone, and as many others have come.
    """
    tag = scope.migration.naming.tag
    form = [("_tag", system_token(tag["system"], tag["code"]))]
    systems = [system for system, kind in scope.migration.slots if kind == resource_type]
    there = 0
    try:
        there = client.count(resource_type, form)
        if there < EXACT_BELOW and there == _named(client, resource_type, form, systems):
            recorder.equal(TAGGED, there)
            return
        for page in chunked(client.search_all(resource_type, [*form, ("_fields", "id,identifier,meta")]), PAGE):
            ours = [one for one in page if not any(values_of(one, system) for system in systems)]
            recorder.equal(TAGGED, len(page) - len(ours))
            with scope.environment.manifest.begin() as connection:
                ids = known_ids(connection, scope.migration.name, resource_type, [one["id"] for one in ours])
            for one in ours:
                kind = None if one["id"] in ids else "unknown"
                _tell(
                    scope.migration.plan.leftovers,
                    recorder,
                    TAGGED,
                    resource_type,
                    kind,
                    f"{resource_type}/{one['id']}",
                )
    except MedferryError as error:
        recorder.unchecked(TAGGED, max(there, 1), error.problem)


def _named(client: MedplumClient, resource_type: str, form: list[tuple[str, str]], systems: list[str]) -> int:
    """How many of what a search finds carry a name of any of some systems; one of two systems counts once."""
    if not systems:
        return 0
    named = (parameter_of(resource_type), ",".join(system_token(system) for system in systems))
    return client.count(resource_type, [*form, named])


def _tell(policy: LeftoverPolicy, recorder: CheckRecorder, name: str, key: str, kind: str | None, place: str) -> None:
    if kind is not None and policy is LeftoverPolicy.KEEP:
        recorder.keep_by_policy(name)
    else:
        recorder.judge(name, key, "", kind, place)
