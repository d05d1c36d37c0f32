"""References: every one is literal and of its own type, and what it points at exists in Medplum."""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from medferry.errors import MedferryError
from medferry.medplum.client import PAGE, MedplumClient
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder

FORM, RESOLVE, CONTEXT = "references: literal", "references resolve", "references: of one patient"

_FIELDS = {"Patient": "id,birthDate,deceasedDateTime", "Encounter": "id,subject"}
_LITERAL = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}")
_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class Life:
    """The dates of a patient, and the patient of an encounter, as Medplum has them; None for all others."""

    birth: str | None = None
    death: str | None = None
    patient: str | None = None


@dataclass
class ReferenceResolver:
    """Which resources exist in Medplum, asked for 1,000 at once and remembered (at most 200,000)."""

    client: MedplumClient
    known: OrderedDict[str, Life | None] = field(default_factory=OrderedDict)

    def learn(self, references: Iterable[str]) -> dict[str, Life | None]:
        """Reference → its life, or None when it does not exist. Raises MedferryError when Medplum does not answer."""
        wanted = set(references)
        asked: dict[str, list[str]] = defaultdict(list)
        for reference in wanted - self.known.keys():
            resource_type, _, medplum_id = reference.partition("/")
            asked[resource_type].append(medplum_id)
        for resource_type, ids in asked.items():
            for start in range(0, len(ids), PAGE):
                self._ask(resource_type, ids[start : start + PAGE])
        found = {reference: self.known[reference] for reference in wanted}
        while len(self.known) > _REMEMBERED:
            self.known.popitem(last=False)
        return found

    def _ask(self, resource_type: str, ids: list[str]) -> None:
        fields = _FIELDS.get(resource_type, "id")
        form = [("_id", ",".join(ids)), ("_fields", fields), ("_count", str(PAGE))]
        page = self.client.search(resource_type, form)
        found = {entry["resource"]["id"]: entry["resource"] for entry in page.get("entry", [])}
        for medplum_id in ids:
            resource = found.get(medplum_id)
            self.known[f"{resource_type}/{medplum_id}"] = None if resource is None else _life(resource)


def _life(resource: dict[str, Any]) -> Life:
    subject = resource.get("subject")
    patient = subject.get("reference") if isinstance(subject, dict) else None
    return Life(resource.get("birthDate"), resource.get("deceasedDateTime"), patient)


def held_references(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, Reference object) of each object with a `reference` inside `value`."""
    if isinstance(value, dict):
        if "reference" in value and isinstance(value["reference"], str):
            yield path, value
        for name, item in value.items():
            yield from held_references(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from held_references(item, f"{path}[{number}]")


def fault(reference: dict[str, Any]) -> str | None:
    """What is wrong with its form: urn, conditional, not literal, other type; None for a literal or contained one."""
    text = reference["reference"]
    if text.startswith("#"):
        return None
    if text.startswith("urn:"):
        return "urn"
    if "?" in text:
        return "conditional"
    if not _LITERAL.fullmatch(text):
        return "not literal"
    return "other type" if reference.get("type", text.split("/")[0]) != text.split("/")[0] else None


def examine(
    items: list[tuple[WrittenResource, dict[str, Any]]], existing: ReferenceResolver, recorder: CheckRecorder
) -> None:
    """Judge all references of a page's resources."""
    pointing: list[tuple[WrittenResource, str, str]] = []
    for written, resource in items:
        for path, reference in held_references(resource):
            kind = fault(reference)
            recorder.judge(FORM, written.key, path, kind, written.place)
            if _LITERAL.fullmatch(reference["reference"]):
                pointing.append((written, path, reference["reference"]))
    try:
        found = existing.learn(reference for _, _, reference in pointing)
    except MedferryError as error:
        for name in (RESOLVE, CONTEXT):
            recorder.unchecked(name, len(pointing), error.problem, *(written.key for written, _, _ in pointing))
        return
    patients: dict[WrittenResource, set[str]] = defaultdict(set)
    for written, path, aim in pointing:
        life = found[aim]
        recorder.judge(RESOLVE, written.key, path, "missing" if life is None else None, written.place)
        patient = aim if aim.startswith("Patient/") else life.patient if life else None
        if patient and not (written.type == "Patient" or path.startswith("link")):
            patients[written].add(patient)
    for written, several in patients.items():
        recorder.judge(
            CONTEXT, written.key, "references", "several patients" if len(several) > 1 else None, written.place
        )
