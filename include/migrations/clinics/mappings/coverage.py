"""Insurance policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import coding, concept, element, present

from ._columns import date, number, skip_deleted, text
from ._datatypes import local_identifier

_COVERAGE_CLASS = "http://terminology.hl7.org/CodeSystem/coverage-class"
_SELF_PAY = "self"


@mapping(
    entity="coverage",
    version="1.0.0",
    owner="billing",
    status="approved",
    produces={"main": "Coverage"},
    references=("patient",),
)
def coverage(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Coverage. Payers are no records of the legacy system, so the payor is a logical reference."""
    skip_deleted(ctx, row)
    yield ctx.resource(
        payor=[_payor(ctx, row)],
        status=ctx.required_code("coverage_status", row["status_code"], "status_code"),
        subscriberId=text(ctx, row, "member_no"),
        beneficiary=ctx.reference("patient", row["patient_id"]),
        relationship=ctx.code("relationship", row["relationship_code"], "relationship_code"),
        period=element(start=date(ctx, row, "start_on"), end=date(ctx, row, "end_on")),
        class_=_group(ctx, row),
        order=number(ctx, row, "priority"),
    )


def _payor(ctx: Context, row: Row) -> dict[str, Any]:
    """Raises Skip('self-pay'), and Quarantine('missing-required') when nothing says who pays."""
    code = text(ctx, row, "payer_code")
    if code and code.casefold() == _SELF_PAY:
        raise ctx.skip("self-pay")
    payor = element(identifier=local_identifier(ctx, "payer", code), display=text(ctx, row, "payer_name"))
    if payor is None:
        raise ctx.quarantine("missing-required", field="payer_code")
    return payor


def _group(ctx: Context, row: Row) -> list[dict[str, Any]]:
    group = text(ctx, row, "group_no")
    return present({"type": concept(coding(_COVERAGE_CLASS, "group")), "value": group} if group else None)
