"""Meaning that can be judged without the legacy database: order of times, lifetimes, approved codes, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from medferry.errors import MedferryError
from medferry.verification.declared import ApprovedTable, EntityChecks
from medferry.verification.fhirpath import compiled
from medferry.verification.pages import Written
from medferry.verification.references import Existing
from medferry.verification.tally import Tally

CHRONOLOGY, LIFETIME = "meaning: chronology", "meaning: within the lifetime"
CODES, PROVENANCE = "meaning: approved codes", "meaning: source and tag"

_TAG_SYSTEM = "urn:medferry:migration"
_PAIRS = (("start", "end"), ("onsetDateTime", "abatementDateTime"), ("birthDate", "deceasedDateTime"))


def examine(
    written: Written,
    resource: dict[str, Any],
    migration: str,
    base: str,
    tables: Mapping[str, ApprovedTable],
    tally: Tally,
) -> None:
    """Judge one resource by itself."""
    for place, one in _objects(resource):
        for first, last in _PAIRS:
            if isinstance(one.get(first), str) and isinstance(one.get(last), str):
                kind = "reversed" if is_after(one[first], one[last]) else None
                tally.judge(CHRONOLOGY, written.key, f"{place}{last}", kind, written.place)
        if isinstance(one.get("coding"), list):
            for table, kind in _concept(one["coding"], base, tables):
                tally.judge(CODES, written.key, f"{place}coding {table}", kind, written.place)
    tally.judge(PROVENANCE, written.key, "meta", _provenance(resource, written, migration), written.place)


def examine_lifetimes(
    items: list[tuple[Written, dict[str, Any]]], checks: EntityChecks, existing: Existing, tally: Tally
) -> None:
    """No declared date before the patient's birth, none later after the death than the checks allow."""
    subjects = {written: _patient(resource) for written, resource in items}
    try:
        lives = existing.learn(reference for reference in subjects.values() if reference)
    except MedferryError as error:
        tally.unchecked(LIFETIME, len(items), error.problem)
        return
    for written, resource in items:
        reference = subjects[written]
        life = lives[reference] if reference else None
        if life is None:
            continue  # a reference that is missing or points nowhere is a difference of its own
        for path in checks.lifetime:
            for moment in compiled(path)(resource, {}):
                kind = _outside(str(moment), life.birth, life.death, checks.days_after_death)
                tally.judge(LIFETIME, written.key, path, kind, written.place)


def _outside(moment: str, birth: str | None, death: str | None, days: int) -> str | None:
    if birth and is_after(birth, moment[:10]):
        return "before birth"
    if death and len(death) >= len("YYYY-MM-DD"):
        last = date.fromisoformat(death[:10]) + timedelta(days=days)
        if is_after(moment[:10], last.isoformat()):
            return "after death"
    return None


def is_after(one: str, other: str) -> bool:
    """True when FHIR date or time `one` is surely after `other`: only what both know is compared."""
    if "T" in one and "T" in other:
        first, second = datetime.fromisoformat(one), datetime.fromisoformat(other)
        if (first.tzinfo is None) == (second.tzinfo is None):
            return first > second
    known = min(len(one.partition("T")[0]), len(other.partition("T")[0]))
    return one[:known] > other[:known]


def _objects(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object inside `value`, itself included, with the path to its members."""
    if isinstance(value, dict):
        yield path, value
        for name, item in value.items():
            yield from _objects(item, f"{path}{name}.")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _objects(item, f"{path.removesuffix('.')}[{number}].")


def _concept(codings: list[Any], base: str, tables: Mapping[str, ApprovedTable]) -> Iterator[tuple[str, str | None]]:
    """(table, kind) of each local coding of a concept: its approved target stands beside it, and no other target."""
    local_systems = f"{base}/CodeSystem/"
    held = [(one.get("system"), one.get("code")) for one in codings if isinstance(one, dict)]
    others = {(system, code) for system, code in held if not str(system).startswith(local_systems)}
    for system, code in held:
        if str(system).startswith(local_systems):
            name = str(system).removeprefix(local_systems)
            table = tables.get(name)
            if table is None:
                yield name[:60], "unknown table"
                continue
            target = table.target(str(code))
            expected = {target} if target else set()
            yield name, None if others == expected else "not approved" if others else "missing"


def _provenance(resource: dict[str, Any], written: Written, migration: str) -> str | None:
    meta = resource.get("meta", {})
    if meta.get("source") != written.system:
        return "source"
    tags = [tag.get("code") for tag in meta.get("tag", []) if tag.get("system") == _TAG_SYSTEM]
    return None if tags == [migration] else "tag"


def _patient(resource: dict[str, Any]) -> str | None:
    for name in ("subject", "patient", "beneficiary"):
        reference = resource.get(name, {}).get("reference", "") if isinstance(resource.get(name), dict) else ""
        if reference.startswith("Patient/"):
            return str(reference)
    return None
