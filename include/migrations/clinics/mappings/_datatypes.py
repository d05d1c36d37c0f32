"""FHIR data types by the conventions of the clinics' system; the plain ones are `medferry.mapping.datatypes`."""

from __future__ import annotations

from typing import Any

from medferry.mapping import Context, Row, datatypes

from ._columns import text

Element = dict[str, Any]

OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
NPI = "http://hl7.org/fhir/sid/us-npi"


def local_identifier(ctx: Context, name: str, value: str | None) -> Element | None:
    """An Identifier that the legacy system gave: system ``{identifier_base}/{name}``."""
    return datatypes.identifier(f"{ctx.settings.naming.base}/{name}", value)


def address(ctx: Context, row: Row, *lines: str, use: str | None = None) -> list[Element]:
    """The row's address in the United States, from the columns `lines`, city, state and postal_code; or none at all."""
    known = datatypes.address(
        *(text(ctx, row, line) for line in lines),
        city=text(ctx, row, "city"),
        state=text(ctx, row, "state"),
        postal_code=text(ctx, row, "postal_code"),
        country="US",
        use=use,
    )
    return datatypes.present(known)
