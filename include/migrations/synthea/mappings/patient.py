"""Patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._address import address
from ._row import text, when

SSN = "http://hl7.org/fhir/sid/us-ssn"
KINDS = "http://terminology.hl7.org/CodeSystem/v2-0203"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition"
BIRTH_PLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"


@mapping(entity="patient", version="1.0.0", owner="patient-data", status="approved", produces={"main": "Patient"})
def patient(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Patient with names, identifiers, demographics and address."""
    gender = ctx.coding("administrative_gender", row["gender"], "gender")
    yield ctx.resource(
        extension=[
            *_us_core(ctx, row, "race"),
            *_us_core(ctx, row, "ethnicity"),
            *_birth_place(text(ctx, row, "birthplace")),
        ],
        identifier=_identifiers(ctx, row),
        name=_names(ctx, row),
        gender=gender["code"] if gender else None,
        birthDate=ctx.date(row["birthdate"], "birthdate"),
        deceasedDateTime=when(ctx, row, "deathdate"),
        maritalStatus=ctx.code("marital_status", row["marital"], "marital"),
        address=address(ctx, row, district="county"),
    )


def _identifiers(ctx: Context, row: Row) -> list[dict[str, Any]]:
    """Social security, driver's licence and passport numbers.

    The export does not say which state or country issued the last two: they stay under the source's own systems.
    """
    kinds = (
        ("ssn", SSN, "SS"),
        ("drivers", ctx.settings.naming.system("patient", "drivers"), "DL"),
        ("passport", ctx.settings.naming.system("patient", "passport"), "PPN"),
    )
    found = ((text(ctx, row, column), system, code) for column, system, code in kinds)
    return [
        {"type": {"coding": [{"system": KINDS, "code": code}]}, "system": system, "value": value}
        for value, system, code in found
        if value
    ]


def _names(ctx: Context, row: Row) -> list[dict[str, Any]]:
    given = [part for part in (text(ctx, row, "first"), text(ctx, row, "middle")) if part]
    prefix, suffix = text(ctx, row, "prefix"), text(ctx, row, "suffix")
    official = {
        "use": "official",
        "family": text(ctx, row, "last"),
        "given": given,
        "prefix": [prefix] if prefix else None,
        "suffix": [suffix] if suffix else None,
    }
    maiden = text(ctx, row, "maiden")
    names = [{part: value for part, value in official.items() if value}]
    return [*names, {"use": "maiden", "family": maiden}] if maiden else names


def _us_core(ctx: Context, row: Row, column: str) -> list[dict[str, Any]]:
    """US Core's race or ethnicity extension: the OMB category where the table approves one, and always a text."""
    concept = ctx.code(column, row[column], column)
    if concept is None:
        return []
    local = ctx.local_coding(column, row[column], column)
    categories = [coding for coding in concept.get("coding", []) if coding != local]
    parts = [{"url": "ombCategory", "valueCoding": coding} for coding in categories]
    return [{"url": f"{US_CORE}/us-core-{column}", "extension": [*parts, _text_part(concept["text"])]}]


def _text_part(value: str) -> dict[str, str]:
    return {"url": "text", "valueString": value}


def _birth_place(place: str | None) -> list[dict[str, Any]]:
    """Synthea joins city, state and country by two blanks (a comma and a blank once); other forms stay a text."""
    if place is None:
        return []
    parts = [part.strip() for part in place.split("  ")]
    whole = len(parts) == 3 and all(parts)
    value = dict(zip(("city", "state", "country"), parts, strict=True)) if whole else {"text": place}
    return [{"url": BIRTH_PLACE, "valueAddress": value}]
