"""Meaning that can be judged without the legacy database: order of times, lifetimes, approved codes, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from medferry.definition.checks import EntityChecks
from medferry.definition.migration import Migration
from medferry.definition.tables import ApprovedTable
from medferry.errors import MedferryError
from medferry.fhir.fhirpath import compiled
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.references import Life, ReferenceResolver

CHRONOLOGY, LIFETIME = "meaning: chronology", "meaning: within the lifetime"
CODES, PROVENANCE = "meaning: approved codes", "meaning: source and tag"

TAG_SYSTEM = "urn:medferry:migration"
_PAIRS = (("start", "end"), ("onsetDateTime", "abatementDateTime"), ("birthDate", "deceasedDateTime"))


def examine(
    written: WrittenResource,
    resource: dict[str, Any],
    migration: Migration,
    recorder: CheckRecorder,
) -> None:
    """Judge one resource by itself."""
    objects = list(_objects(resource))
    present = {(str(item["system"]), str(item["code"])) for _, item in objects if {"system", "code"} <= item.keys()}
    for place, item in objects:
        for first, last in _PAIRS:
            if isinstance(item.get(first), str) and isinstance(item.get(last), str):
                kind = "reversed" if is_after(item[first], item[last]) else None
                recorder.judge(CHRONOLOGY, written.key, f"{place}{last}", kind, written.place)
        if isinstance(item.get("coding"), list):
            for table, kind in _concept(item["coding"], present, migration.plan.base, migration.checks.tables):
                recorder.judge(CODES, written.key, f"{place}coding {table}", kind, written.place)
    recorder.judge(PROVENANCE, written.key, "meta", _provenance(resource, written, migration.name), written.place)


def examine_lifetimes(
    items: list[tuple[WrittenResource, dict[str, Any]]],
    checks: EntityChecks,
    existing: ReferenceResolver,
    recorder: CheckRecorder,
) -> None:
    """No declared date before the patient's birth, none later after the death than the checks allow."""
    subjects = {written: _patient(resource) for written, resource in items}
    try:
        lives = existing.learn(reference for reference in subjects.values() if reference)
    except MedferryError as error:
        recorder.unchecked(LIFETIME, len(items), error.problem, *(written.key for written, _ in items))
        return
    for written, resource in items:
        reference = subjects[written]
        life = lives[reference] if reference else None
        if life is None:
            continue  # a reference that is missing or points nowhere is a difference of its own
        for path in checks.lifetime:
            try:
                moments = [str(moment) for moment in compiled(path)(resource, {})]
                kinds = [_outside(moment, life, checks.days_after_death) for moment in moments]
            except ValueError as error:  # PathFailed, or a day of death that is none
                recorder.unchecked(LIFETIME, 1, type(error).__name__, written.key)
                continue
            for kind in kinds:
                recorder.judge(LIFETIME, written.key, path, kind, written.place)


def _outside(moment: str, life: Life, days: int) -> str | None:
    if life.birth and is_after(life.birth, moment[:10]):
        return "before birth"
    if life.death and len(life.death) >= len("YYYY-MM-DD"):
        last = date.fromisoformat(life.death[:10]) + timedelta(days=days)
        if is_after(moment[:10], last.isoformat()):
            return "after death"
    return None


def is_after(moment: str, other: str) -> bool:
    """True when a FHIR date or time is surely after `other`: only what both know is compared."""
    if "T" in moment and "T" in other:
        try:
            return datetime.fromisoformat(moment) > datetime.fromisoformat(other)
        except (TypeError, ValueError):
            pass  # one has no zone, or is no day of the calendar: their days decide
    known = min(len(moment.partition("T")[0]), len(other.partition("T")[0]))
    return moment[:known] > other[:known]


def _objects(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object inside `value`, itself included, with the path to its members."""
    if isinstance(value, dict):
        yield path, value
        for name, item in value.items():
            yield from _objects(item, f"{path}{name}.")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _objects(item, f"{path.removesuffix('.')}[{number}].")


def _concept(
    codings: list[Any], present: set[tuple[str, str]], base: str, tables: Mapping[str, ApprovedTable]
) -> Iterator[tuple[str, str | None]]:
    """(table, kind) of each local coding of a concept: its approved target stands beside it, and no other target.

    A local code may stand alone where the target, coarser than it, has an element of its own (Encounter.class).
    """
    local_systems = f"{base}/CodeSystem/"
    names = [(str(coding.get("system")), str(coding.get("code"))) for coding in codings if isinstance(coding, dict)]
    others = {(system, code) for system, code in names if not system.startswith(local_systems)}
    for system, code in names:
        if system.startswith(local_systems):
            name = system.removeprefix(local_systems)
            table = tables.get(name)
            if table is None:
                yield name[:60], "unknown table"
                continue
            target = table.target(code)
            expected = {target} if target else set()
            if others:
                yield name, None if others == expected else "not approved"
            else:
                yield name, None if expected <= present else "missing"


def _provenance(resource: dict[str, Any], written: WrittenResource, migration: str) -> str | None:
    meta = resource.get("meta", {})
    if meta.get("source") != written.system:
        return "source"
    tags = [tag.get("code") for tag in meta.get("tag", []) if tag.get("system") == TAG_SYSTEM]
    return None if tags == [migration] else "tag"


def _patient(resource: dict[str, Any]) -> str | None:
    """Whom the resource is about; of an appointment, the first patient who takes part."""
    taking_part = [each.get("actor") for each in resource.get("participant", []) if isinstance(each, dict)]
    for subject in (resource.get("subject"), resource.get("patient"), resource.get("beneficiary"), *taking_part):
        reference = subject.get("reference") if isinstance(subject, dict) else None
        if isinstance(reference, str) and reference.startswith("Patient/"):
            return reference
    return None
