"""Allergies and intolerances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.datatypes import element, present

from ._back import clinic_time, inside, single, staff, status
from ._columns import date, local_time, skip_deleted, text
from ._status import clinical_or_error


@mapping(
    entity="allergy",
    version="1.0.0",
    owner="clinical-data",
    status="approved",
    produces={"main": "AllergyIntolerance"},
    references=("patient", "staff"),
)
def allergy(row: Row, ctx: Context) -> Iterator[Resource]:
    """An AllergyIntolerance, unless an earlier row already says the same."""
    skip_deleted(ctx, row)
    code = ctx.code("allergy", row["substance_code"], "substance_code", text=text(ctx, row, "substance_text"))
    if code is None:
        raise ctx.quarantine("missing-required", field="substance_code")
    if row["earlier_id"] is not None:
        raise ctx.quarantine("duplicate-record")
    yield ctx.resource(
        **clinical_or_error(ctx, "allergy_status", row),
        category=present(ctx.row.optional_code("allergy_kind", "kind_code")),
        code=code,
        patient=ctx.reference("patient", row["patient_id"]),
        onsetDateTime=date(ctx, row, "onset_date"),
        recordedDate=local_time(ctx, row, "recorded_at"),
        recorder=ctx.reference("staff", row["staff_id"]),
        reaction=_reactions(ctx, row),
    )


def _reactions(ctx: Context, row: Row) -> list[dict[str, Any]]:
    """The reaction with its severity. FHIR has no place for a severity without a manifestation."""
    severity, manifestation = ctx.row.optional_code("severity", "severity_code"), text(ctx, row, "reaction_text")
    return present(element(manifestation=[{"text": manifestation}], severity=severity) if manifestation else None)


@inverse(
    entity="allergy",
    tables=(
        legacy_table(
            "allergies",
            key="allergy_id",
            columns=(
                *("staff_id", "substance_code", "substance_text", "kind_code", "severity_code", "reaction_text"),
                *("onset_date", "recorded_at", "status_code"),
            ),
            touched="updated_at",
        ),
    ),
)
def allergy_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    """The allergy with one reaction; whose it is stays."""
    code, recorded = resource.get("code"), resource.get("recordedDate")
    reaction = single(ctx, resource, "reaction")
    manifestation = single(ctx, {"reaction": reaction}, "reaction", "manifestation", "text")
    return {
        "status_code": status(ctx, "allergy_status", resource),
        **ctx.together(
            {
                "substance_code": ctx.code("allergy", code, "substance_code", "code"),
                "substance_text": ctx.words("allergy", code, "substance_text", "code", 200),
            }
        ),
        "kind_code": ctx.code("allergy_kind", single(ctx, resource, "category"), "kind_code", "category"),
        **ctx.together(
            {
                "severity_code": ctx.code(
                    "severity", inside(reaction, "severity"), "severity_code", "reaction.severity"
                ),
                "reaction_text": ctx.text(manifestation, "reaction_text", "reaction.manifestation", 200),
            }
        ),
        "onset_date": ctx.date(resource.get("onsetDateTime"), "onset_date", "onsetDateTime"),
        "recorded_at": ctx.required(clinic_time(ctx, row, recorded, "recorded_at", "recordedDate"), "recordedDate"),
        "staff_id": staff(ctx, resource.get("recorder"), "recorder"),
    }
