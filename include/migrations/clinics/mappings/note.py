"""Clinical notes, as plain text."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import element, present

from ._columns import local_time, skip_deleted, text

_MOST_BYTES = 500_000
"""Of UTF-8: in base64 it must still fit into one request (medplum: 1 MB)."""


@mapping(
    entity="note",
    version="1.0.0",
    owner="clinical-data",
    status="approved",
    produces={"main": "DocumentReference"},
    references=("patient", "encounter", "staff"),
)
def note(row: Row, ctx: Context) -> Iterator[Resource]:
    """A DocumentReference that holds the note itself."""
    skip_deleted(ctx, row)
    doc_status = ctx.required_code("note_status", row["status_code"], "status_code")
    data = base64.b64encode(_body(ctx, row)).decode("ascii")
    attachment = element(contentType="text/plain; charset=utf-8", data=data, title=text(ctx, row, "title"))
    yield ctx.resource(
        status="entered-in-error" if doc_status == "entered-in-error" else "current",
        docStatus=doc_status,
        type=ctx.code("note_kind", row["kind_code"], "kind_code"),
        subject=ctx.reference("patient", row["patient_id"]),
        date=local_time(ctx, row, "written_at"),
        author=present(ctx.reference("staff", row["staff_id"])),
        content=[{"attachment": attachment}],
        context=element(encounter=present(ctx.reference("encounter", row["encounter_id"]))),
    )


def _body(ctx: Context, row: Row) -> bytes:
    """The text in UTF-8. Raises Quarantine: 'missing-required', 'oversized-text'."""
    body = text(ctx, row, "body")
    if body is None:
        raise ctx.quarantine("missing-required", field="body")
    data = body.encode()
    if len(data) > _MOST_BYTES:
        raise ctx.quarantine("oversized-text", field="body")
    return data
