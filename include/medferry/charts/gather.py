"""Everything of one patient: legacy rows, the ledger's word on them, what Medplum holds, compared check by check."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from medferry.charts.links import Links
from medferry.charts.shown import flat, shown
from medferry.definition.checks import Check
from medferry.fhir.fhirpath import PathFailed, compiled
from medferry.fhir.identifiers import names_of
from medferry.manifest.charts import decided_as
from medferry.manifest.checks import CheckStatus, Difference
from medferry.mapping.outcomes import Disposition
from medferry.medplum.client import PAGE, MedplumClient
from medferry.verification.case import MISSING
from medferry.verification.legacy import condition
from medferry.verification.pages import WrittenResource, written_of
from medferry.verification.recorder import CheckRecorder
from medferry.verification.references import held_references
from medferry.verification.values import Values, name_of

SECTIONS = (
    ("Demographics", ("Patient", "RelatedPerson", "Person")),
    ("Allergies", ("AllergyIntolerance",)),
    ("Problems", ("Condition",)),
    ("Medications", ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")),
    ("Encounters", ("Encounter", "EpisodeOfCare")),
    ("Vital signs and laboratory", ("Observation", "DiagnosticReport", "ServiceRequest", "Specimen")),
    ("Immunizations", ("Immunization",)),
    ("Procedures and care plans", ("Procedure", "CarePlan", "CareTeam", "Goal", "Device", "ImagingStudy")),
    ("Documents", ("DocumentReference", "Composition", "Media", "QuestionnaireResponse", "Consent")),
    ("Appointments", ("Appointment", "AppointmentResponse")),
    ("Coverage", ("Coverage", "Account", "Claim", "ExplanationOfBenefit")),
)
"""A clinician's reading order: title, types. What is of no type here comes last."""
OTHER = "Other"

_DATES = ("effectiveDateTime", "onsetDateTime", "authoredOn", "occurrenceDateTime", "recordedDate", "start", "date")


@dataclass(frozen=True, slots=True)
class Line:
    """One declared check: the legacy value, Medplum's, and what the comparison found."""

    name: str
    legacy: str
    medplum: str
    status: CheckStatus

    @property
    def differs(self) -> bool:
        """A check that compared nothing, as both sides are empty, leaves a clinician nothing to look at."""
        return self.status not in (CheckStatus.EQUAL, CheckStatus.NOTHING)


@dataclass
class Item:
    """A legacy row beside what is in Medplum of it; either side may be missing. `said` is the ledger's word."""

    entity: str
    key: str
    types: list[str]
    said: str
    row: dict[str, str]
    resources: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    day: str = ""

    @property
    def differs(self) -> bool:
        return bool(self.problems) or any(line.differs for line in self.lines)


@dataclass
class Chart:
    """One patient's chart in reading order: (section, items)."""

    key: str
    why: str
    sections: list[tuple[str, list[Item]]]

    @property
    def items(self) -> list[Item]:
        return [item for _, items in self.sections for item in items]


def gather(links: Links, client: MedplumClient, key: str, why: str) -> Chart:
    """Read both systems again for one patient. Raises MedferryError when one of them does not answer."""
    keys = defaultdict(set, {entity: set(some) for entity, some in links.keys(key).items()})
    ours, strangers = _in_compartment(links, client, key)
    without_row: dict[str, set[str]] = {}
    for entity, some in ours.items():
        if entity != links.patient and links.references(entity):
            without_row[entity] = some - keys[entity]
        keys[entity] |= some
    items = [
        item
        for entity in (links.patient, *links.entities)
        for item in _items(links, client, entity, sorted(keys[entity]), key)
    ]
    for item in items:
        if item.key in without_row.get(item.entity, ()):
            item.problems.append("Medplum has it with this patient, the legacy database has not")
    return Chart(key, why, _sections([*items, *strangers]))


def _sections(items: list[Item]) -> list[tuple[str, list[Item]]]:
    found: list[tuple[str, list[Item]]] = []
    left = items
    for title, types in SECTIONS:
        mine = [item for item in left if set(item.types) & set(types)]
        left = [item for item in left if not set(item.types) & set(types)]
        found.append((title, sorted(mine, key=lambda one: (one.day, one.entity, one.key))))
    return [(title, some) for title, some in [*found, (OTHER, left)] if some]


def _items(links: Links, client: MedplumClient, entity: str, keys: list[str], patient: str) -> Iterator[Item]:
    """The items of one entity's rows."""
    if not keys:
        return
    scope, legacy = links.scope, links.legacy(entity)
    rows, written = legacy.rows(keys), written_of(scope, entity, keys)
    with scope.environment.manifest.begin() as connection:
        said = decided_as(connection, links.run.id, entity, keys)
    values = legacy.values(keys) if legacy.checks else {}
    bodies = {slot: _bodies(client, list(some.values())) for slot, some in written.items()}
    own = _place_of(links, patient)
    for key in keys:
        row = {name: shown(value) for name, value in rows.get(key, {}).items()}
        produced = scope.environment.migration.specs[entity].produces
        item = Item(entity, key, list(produced.values()), said.get(key, "not in the ledger of this run"), row)
        if not row:
            item.problems.append("not in the legacy database")
        for slot in produced:
            known = written.get(slot, {}).get(key)
            body = bodies[slot].get(known.medplum_id) if known else None
            if known and body is None:
                item.problems.append(f"missing in Medplum: {known.place}")
            if known and body is not None:
                _add(links, client, item, known, body, values, own)
            elif values and _must_be(links, entity, slot, values.get(key)) and item.said == Disposition.SUCCESSFUL:
                item.problems.append(f"missing: the row must have a resource {slot}")
        yield item


def _must_be(links: Links, entity: str, slot: str, row: dict[str, Any] | None) -> bool:
    checks = links.scope.checks(entity)
    return bool(checks and row and row[condition(checks.resources[slot].when)])


def _add(
    links: Links,
    client: MedplumClient,
    item: Item,
    known: WrittenResource,
    body: dict[str, Any],
    values: dict[str, dict[str, Any]],
    patient_place: str | None,
) -> None:
    """Put a resource beside the row, with its checks."""
    item.resources.append((known.place, flat(body)))
    item.day = item.day or next((str(body[name]) for name in _DATES if name in body), _start(body))
    patients = {one["reference"] for _, one in held_references(body) if one["reference"].startswith("Patient/")}
    if patients and patient_place not in patients and known.place != patient_place:
        item.problems.append(f"{known.place} refers to another patient")
    checks = links.scope.checks(item.entity)
    if checks and item.key in values:
        judge = Values(links.scope, client, item.entity, checks, links.legacy(item.entity))
        found: list[Difference] = []
        recorder = CheckRecorder(item.entity, found.extend)
        judge.examine(known.slot, [(known, body)], values, recorder)
        results = {one.name: one.status for one in recorder.results()}
        for check in checks.checks(known.slot):
            if status := results.get(name_of(check, known.slot)):
                item.lines.append(_line(links, check, known.slot, values[item.key], body, status))


def _line(
    links: Links, check: Check, slot: str, row: dict[str, Any], body: dict[str, Any], status: CheckStatus
) -> Line:
    expressions = (check.comparator, check.sql, check.unit, check.zone)
    legacy = [shown(row[sql]) for sql in expressions if sql and row[sql] is not None]
    try:
        found = compiled(check.path)(body, {"base": links.scope.environment.migration.plan.base})
    except PathFailed:
        found = [MISSING]
    return Line(f"{slot} {check.name}", " ".join(legacy), ", ".join(shown(one) for one in found), status)


def _start(body: dict[str, Any]) -> str:
    period = body.get("period") or body.get("effectivePeriod")
    return str(period.get("start", "")) if isinstance(period, dict) else ""


def _bodies(client: MedplumClient, written: list[WrittenResource]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(written), PAGE):
        some = written[start : start + PAGE]
        found |= client.by_id(some[0].type, [one.medplum_id for one in some])
    return found


def _place_of(links: Links, key: str) -> str | None:
    known = written_of(links.scope, links.patient, [key]).get("main", {}).get(key)
    return known.place if known else None


def _in_compartment(links: Links, client: MedplumClient, key: str) -> tuple[dict[str, set[str]], list[Item]]:
    """What Medplum itself says is of this patient: entity → keys, and resources that are of no entity."""
    place = _place_of(links, key)
    if place is None:
        return {}, []
    scope, produces = links.scope, links.scope.environment.migration.specs
    mine = (links.patient, *links.entities)
    systems = {system: entity for entity in mine for system in scope.systems(entity).values()}
    ours: dict[str, set[str]] = defaultdict(set)
    strangers: list[Item] = []
    for resource_type in sorted({one for entity in mine for one in produces[entity].produces.values()}):
        for body in client.search_all(resource_type, [("_compartment", place)]):
            names = [(systems.get(system), value) for system, value in names_of(body)]
            known = [(entity, value) for entity, value in names if entity]
            for entity, value in known:
                ours[entity].add(value)
            if not known and f"{resource_type}/{body['id']}" != place:
                item = Item("", body["id"], [resource_type], "made in Medplum, by no migration", {})
                item.resources.append((f"{resource_type}/{body['id']}", flat(body)))
                strangers.append(item)
    return ours, strangers
