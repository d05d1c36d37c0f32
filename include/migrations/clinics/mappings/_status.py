"""The status of a problem or an allergy, which FHIR splits in two."""

from __future__ import annotations

from typing import Any

from medferry.mapping import Context, Row

_VERIFICATION = (
    "http://terminology.hl7.org/CodeSystem/condition-ver-status",
    "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
)


def clinical_or_error(ctx: Context, table: str, row: Row) -> dict[str, Any]:
    """``clinicalStatus``, or ``verificationStatus`` where the code table says that the row was entered in error.

    FHIR forbids both together (con-5, ait-2). Raises Quarantine: 'missing-required', 'unmapped-code'.
    """
    target = ctx.coding(table, row["status_code"], "status_code")
    if target is None:
        raise ctx.quarantine("missing-required", field="status_code")
    name = "verificationStatus" if target["system"] in _VERIFICATION else "clinicalStatus"
    return {name: ctx.code(table, row["status_code"], "status_code")}
