"""Laboratory orders with their reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import coding, concept, present

from ._columns import local_time, skip_deleted, text
from ._datatypes import local_identifier

_DIAGNOSTIC_SERVICE = "http://terminology.hl7.org/CodeSystem/v2-0074"


@mapping(
    entity="lab_order",
    version="1.0.0",
    owner="laboratory",
    status="approved",
    produces={"main": "DiagnosticReport"},
    references=("patient", "encounter", "staff", "lab_result"),
)
def lab_order(row: Row, ctx: Context) -> Iterator[Resource]:
    """A DiagnosticReport that names every result of the order, so that a report without one is not loaded."""
    skip_deleted(ctx, row)
    yield ctx.resource(
        identifier=present(local_identifier(ctx, "accession", text(ctx, row, "accession_no"))),
        status=ctx.required_code("lab_status", row["status_code"], "status_code"),
        category=[concept(coding(_DIAGNOSTIC_SERVICE, "LAB"))],
        code=ctx.code("lab_panel", row["panel_code"], "panel_code"),
        subject=ctx.reference("patient", row["patient_id"]),
        encounter=ctx.reference("encounter", row["encounter_id"]),
        effectiveDateTime=local_time(ctx, row, "collected_at"),
        issued=local_time(ctx, row, "reported_at"),
        performer=present(ctx.reference("staff", row["staff_id"])),
        result=_results(ctx, row),
    )


def _results(ctx: Context, row: Row) -> list[dict[str, Any]]:
    """References in the order of the keys; the database gives them as a JSON list in any order."""
    keys = sorted(json.loads(row["result_ids"] or "[]"))
    return present(*(ctx.reference("lab_result", key) for key in keys))
