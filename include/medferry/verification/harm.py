"""What hurts a patient first: allergies, medications and problems that were lost, altered, or that came back.

Computed from both systems as they are now, by the comparisons of the verification; nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from more_itertools import chunked, map_reduce

from medferry.fhir.references import by_type
from medferry.manifest.checks import CheckResult, CheckStatus, Difference
from medferry.mapping.declare import MappingSpec
from medferry.medplum.client import PAGE, MedplumClient
from medferry.verification import content, identity
from medferry.verification.accounting import GONE, KEYS
from medferry.verification.born import BORN
from medferry.verification.coverage import DECLARED
from medferry.verification.leftovers import INACTIVE, LEFT, examine_leftovers
from medferry.verification.part import VerificationPart
from medferry.verification.run import parts
from medferry.verification.scope import VerificationScope
from medferry.verification.second_look import Motion
from medferry.verification.server import ANSWERS
from medferry.verification.source_rows import AS_LOADED
from medferry.verification.unrecorded import examine_parts

CLINICAL = {
    "AllergyIntolerance": "allergies",
    "MedicationRequest": "medications",
    "MedicationStatement": "medications",
    "Condition": "problems",
}
"""Resource type → what a clinician calls it."""


class Harm(StrEnum):
    """What became of a record, the worst first."""

    LOST = "lost"
    """The legacy database has it, Medplum has not."""
    RESURRECTED = "resurrected"
    """Medplum has it, the legacy database has not, or not any more."""
    ALTERED = "altered"
    """Both have it, and they do not say the same."""


_VALUE, _LEFTOVERS = "value: ", "leftovers"
_LOST = (identity.MISSING, KEYS)
_RESURRECTED = (GONE, LEFT, INACTIVE, DECLARED, identity.UNEXPECTED, identity.TWICE, identity.STRAY, BORN)
_MOVED = ("other unit", "in no unit")
_UNEXPECTED = ("unexpected", "written all the same", "partly written")
_ALTERED = (
    *(_VALUE, "values: ", "document: ", "references", "meaning: "),
    *(content.CONTENT, content.VERSIONS, identity.OWN, AS_LOADED),
)
"""Beginnings of the names of checks that compare what a record says."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A record that differs: by which checks, and where in Medplum ("Type/id"; empty where it is nowhere)."""

    harm: Harm
    entity: str
    key: str
    place: str
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntityHarm:
    """An entity: `compared` resources that were looked for, `by_value` comparisons with the legacy database's values.

    `unchecked` says what could not be looked at, and why; `in_flight` records are on their way.
    """

    entity: str
    compared: int
    by_value: int
    in_flight: int
    unchecked: tuple[str, ...]
    findings: tuple[Finding, ...]


def clinical_entities(specs: Mapping[str, MappingSpec]) -> list[str]:
    """The entities whose rows become an allergy, a medication or a problem; by name."""
    return sorted(name for name, spec in specs.items() if CLINICAL.keys() & {*spec.produces.values()})


def examine_harm(scope: VerificationScope, client: MedplumClient, motion: Motion | None) -> list[EntityHarm]:
    """Of every entity of the scope. Reads only."""
    due = [part for part in parts(scope, client, entities=scope.entities) if part.entity in scope.units]
    left = VerificationPart(_LEFTOVERS, "all", partial(examine_leftovers, scope, client))
    examined = examine_parts(scope, [*due, left], client, motion)
    lines = [one for looked in examined for one in map(_of_its_entity, looked.differences) if _harm(one)]
    lines = _there(lines, client)
    results = map_reduce((one for looked in examined for one in looked.results), lambda one: one.entity)
    of_all = [one for one in results.get("all", []) if one.name in (LEFT, INACTIVE)]
    by_entity = map_reduce(lines, lambda one: one.entity)
    return [_of_entity(name, [*results.get(name, []), *of_all], by_entity.get(name, [])) for name in scope.entities]


def _of_entity(name: str, results: Sequence[CheckResult], lines: Sequence[Difference]) -> EntityHarm:
    by_key = map_reduce(lines, lambda one: one.key)
    return EntityHarm(
        name,
        sum(one.compared for one in results if one.name == identity.MISSING),
        sum(one.compared for one in results if one.name.startswith(_VALUE)),
        max((one.unchecked for one in results if one.status is CheckStatus.IN_FLIGHT), default=0),
        tuple(f"{one.name}: {one.note}" for one in results if _could_not_say(one)),
        tuple(_finding(name, key, found) for key, found in sorted(by_key.items())),
    )


def _finding(entity: str, key: str, lines: Sequence[Difference]) -> Finding:
    harms = {harm for line in lines if (harm := _harm(line))}
    worst = next(harm for harm in Harm if harm in harms)
    telling = [line for line in lines if _harm(line) is worst]
    place = next((line.place for line in (*telling, *lines) if line.place), "")
    return Finding(worst, entity, key, place, tuple(sorted({line.name for line in telling})))


def _harm(line: Difference) -> Harm | None:
    """None: it is no word about what a record says, or not about one of these types."""
    resource_type = line.place.partition("/")[0]
    if resource_type and resource_type not in CLINICAL:
        return None
    if line.name == identity.MANIFEST:
        return Harm.RESURRECTED if line.kind in _UNEXPECTED else Harm.LOST
    if line.name in _LOST:
        return Harm.LOST if line.kind not in _MOVED else None
    if line.name in _RESURRECTED:
        return Harm.RESURRECTED
    return Harm.ALTERED if line.name.startswith(_ALTERED) else None


def _could_not_say(result: CheckResult) -> bool:
    """Whether something that would tell of harm was not compared, for want of an answer or of a declared check."""
    tells = (*_LOST, *_RESURRECTED, *_ALTERED, identity.MANIFEST, ANSWERS)
    return result.status in (CheckStatus.COULD_NOT_CHECK, CheckStatus.SETTLING) and result.name.startswith(tells)


def _of_its_entity(line: Difference) -> Difference:
    """Leftovers are told with their entity before the key, as they are told of all entities together."""
    if line.entity != "all":
        return line
    entity, _, key = line.key.partition("/")
    return replace(line, entity=entity, key=key)


def _there(lines: Sequence[Difference], client: MedplumClient) -> list[Difference]:
    """Without those of a record that is gone from the source, and from Medplum too: the manifest alone has it."""
    asked = {(line.place.partition("/")[0], line.place.partition("/")[2]) for line in lines if line.name == GONE}
    there = {
        f"{kind}/{medplum_id}"
        for kind, ids in by_type(asked).items()
        for page in chunked(sorted(ids), PAGE)
        for medplum_id in client.versions(kind, page)
    }
    return [line for line in lines if line.name != GONE or line.place in there]
