"""Documents: letters, forms, scans."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import element, present

from ._columns import local_time, skip_deleted, text


@mapping(
    entity="document",
    version="1.0.0",
    owner="medical-records",
    status="approved",
    produces={"main": "DocumentReference"},
    references=("patient", "encounter"),
)
def document(row: Row, ctx: Context) -> Iterator[Resource]:
    """A DocumentReference with the file inside."""
    skip_deleted(ctx, row)
    content = ctx.base64(row["content"], "content")
    if not content:
        raise ctx.quarantine("missing-required", field="content")
    attachment = element(contentType=text(ctx, row, "mime_type"), data=content, title=text(ctx, row, "file_name"))
    yield ctx.resource(
        status="current",
        type=ctx.code("document_kind", row["kind_code"], "kind_code"),
        subject=ctx.reference("patient", row["patient_id"]),
        date=local_time(ctx, row, "received_at"),
        content=[{"attachment": attachment}],
        context=element(encounter=present(ctx.reference("encounter", row["encounter_id"]))),
    )
