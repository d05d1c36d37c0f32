"""The problem list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.datatypes import coding, concept

from ._back import clinic_time, staff, status
from ._columns import date, local_time, skip_deleted, text
from ._status import clinical_or_error

_CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"
_FULL_DATE = len("YYYY-MM-DD")


@mapping(
    entity="problem",
    version="1.0.0",
    owner="clinical-data",
    status="approved",
    produces={"main": "Condition"},
    references=("patient", "staff"),
)
def problem(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Condition of the problem list, coded where the legacy system has a code."""
    skip_deleted(ctx, row)
    words = text(ctx, row, "problem_text")
    code = ctx.code("problem", row["problem_code"], "problem_code", text=words)
    if code is None:
        raise ctx.quarantine("missing-required", field="problem_code")
    yield ctx.resource(
        **clinical_or_error(ctx, "problem_status", row),
        category=[concept(coding(_CATEGORY, "problem-list-item"))],
        code=code,
        subject=ctx.reference("patient", row["patient_id"]),
        **_course(ctx, row),
        recordedDate=local_time(ctx, row, "recorded_at"),
        recorder=ctx.reference("staff", row["staff_id"]),
    )


def _course(ctx: Context, row: Row) -> dict[str, Any]:
    """Onset and abatement. Raises Quarantine('impossible-date') for an end before a fully known onset."""
    onset, end = date(ctx, row, "onset_date"), date(ctx, row, "resolved_on")
    if onset and end and len(onset) == _FULL_DATE and onset > end:
        raise ctx.quarantine("impossible-date", field="resolved_on")
    return {"onsetDateTime": onset, "abatementDateTime": end}


@inverse(
    entity="problem",
    tables=(
        legacy_table(
            "problems",
            key="problem_id",
            columns=(
                *("staff_id", "problem_code", "problem_text", "onset_date", "resolved_on", "recorded_at"),
                "status_code",
            ),
            touched="updated_at",
        ),
    ),
)
def problem_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    """The entry of the problem list; whose it is stays."""
    code, recorded = resource.get("code"), resource.get("recordedDate")
    return {
        "status_code": status(ctx, "problem_status", resource),
        **ctx.together(
            {
                "problem_code": ctx.code("problem", code, "problem_code", "code"),
                "problem_text": ctx.words("problem", code, "problem_text", "code", 200),
            }
        ),
        "onset_date": ctx.date(resource.get("onsetDateTime"), "onset_date", "onsetDateTime"),
        "resolved_on": ctx.date(resource.get("abatementDateTime"), "resolved_on", "abatementDateTime", whole=True),
        "recorded_at": ctx.required(clinic_time(ctx, row, recorded, "recorded_at", "recordedDate"), "recordedDate"),
        "staff_id": staff(ctx, resource.get("recorder"), "recorder"),
    }
