"""Coverage: who paid for a patient's care, and from when to when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._row import period, required, subject, text
from .payer import NO_INSURANCE

MEMBER_NUMBER = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MB"}]}


@mapping(
    entity="coverage",
    version="1.0.0",
    owner="finance",
    status="approved",
    produces={"main": "Coverage", "secondary": "Coverage"},
    references=("patient", "payer"),
)
def coverage(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Coverage, and a second one of order 2 where the row names a second payer. Times without insurance: none."""
    if text(ctx, row, "payer_name") == NO_INSURANCE:
        raise ctx.skip("no-insurance")
    common: dict[str, Any] = {
        "status": "active",
        "beneficiary": subject(ctx, row),
        "period": period(ctx, row, "start_date", "end_date"),
    }
    payer = required(ctx, ctx.reference("payer", row["payer"]), "payer")
    yield ctx.resource(**common, **_holder(ctx, row), payor=[payer], order=1)
    second = ctx.reference("payer", row["secondary_payer"])
    if second:
        yield ctx.resource("secondary", **common, payor=[second], order=2)


def _holder(ctx: Context, row: Row) -> dict[str, Any]:
    """Member number, policy holder and the patient's relation to him, as far as the row tells."""
    member, owner = text(ctx, row, "memberid"), text(ctx, row, "owner_name")
    number = {
        "type": MEMBER_NUMBER,
        "system": ctx.settings.naming.system("coverage", "member"),
        "value": member,
    }
    return {
        "identifier": [number] if member else None,
        "policyHolder": {"display": owner} if owner else None,
        "relationship": ctx.code("subscriber_relationship", row["plan_ownership"], "plan_ownership"),
    }
