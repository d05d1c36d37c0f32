"""Codes that the export already holds in a standard system; a code that cannot be one of that system is refused."""

from __future__ import annotations

import re
from typing import Any

from medferry.mapping import Context, Row

from ._row import required, text

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"

# The lexical form of each system's codes. The CSV names no system for most columns (Synthea's data dictionary does).
_FORMS = {
    SNOMED: re.compile(r"[1-9]\d{5,17}"),
    LOINC: re.compile(r"\d{1,7}-\d"),
    RXNORM: re.compile(r"[1-9]\d{0,7}"),
    CVX: re.compile(r"\d{1,3}"),
}


def concept(
    ctx: Context, row: Row, system: str, code: str = "code", display: str = "description"
) -> dict[str, Any] | None:
    """A CodeableConcept of two columns, None without a code. Raises Quarantine('unmapped-code') for a strange code."""
    return concept_of(ctx, system, text(ctx, row, code), text(ctx, row, display), code)


def concept_of(ctx: Context, system: str, code: str | None, display: str | None, column: str) -> dict[str, Any] | None:
    """A CodeableConcept of a code and its name; `column` is named when the code is refused."""
    if code is None:
        return {"text": display} if display else None
    if not _FORMS[system].fullmatch(code):
        raise ctx.quarantine("unmapped-code", column)
    if display is None:
        return {"coding": [{"system": system, "code": code}]}
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def main_concept(ctx: Context, row: Row, system: str) -> dict[str, Any]:
    """The concept that the row is about. Raises Quarantine('missing-required' or 'unmapped-code')."""
    required(ctx, text(ctx, row, "code"), "code")
    found: dict[str, Any] = required(ctx, concept(ctx, row, system), "code")
    return found


def reason(ctx: Context, row: Row) -> list[dict[str, Any]]:
    """What the row was done for, a SNOMED CT concept, or nothing."""
    found = concept(ctx, row, SNOMED, "reasoncode", "reasondescription")
    return [found] if found else []


def system_of(ctx: Context, row: Row, default: str = SNOMED) -> str:
    """The code system that the column `system` names; exports without that column hold `default`.

    Raises Quarantine('unmapped-code') for a system nobody mapped.
    """
    return ctx.required_code("code_system", row["system"], "system") if text(ctx, row, "system") else default
