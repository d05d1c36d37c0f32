"""Devices and their use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import SNOMED, main_concept
from ._row import period, subject, text

# GS1's human-readable form: (01) device identifier, (10) lot, (21) serial number. The dates (11) and (17) have years
# of two digits, whose century depends on the day of reading: they stay in the carrier's text.
_PARTS = re.compile(r"\((\d{2})\)([^()]+)")
_FIELDS = {"01": "distinctIdentifier", "10": "lotNumber", "21": "serialNumber"}


@mapping(
    entity="device",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "Device", "use": "DeviceUseStatement"},
    references=("patient",),
)
def device(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Device, and a DeviceUseStatement for the time of its use, which R4's Device cannot hold."""
    used, patient, kind = period(ctx, row), subject(ctx, row), main_concept(ctx, row, SNOMED)
    ended = text(ctx, row, "stop") is not None
    yield ctx.resource(
        **_carrier(text(ctx, row, "udi")),
        status="inactive" if ended else "active",
        type=kind,
        patient=patient,
    )
    yield ctx.resource(
        "use",
        status="completed" if ended else "active",
        subject=patient,
        timingPeriod=used,
        device=ctx.reference("device", ctx.key),
    )


def _carrier(udi: str | None) -> dict[str, Any]:
    """The unique device identifier as it stands, and the parts of it that can be read without guessing."""
    if udi is None:
        return {}
    parts = dict(_PARTS.findall(udi))
    number = {"deviceIdentifier": parts["01"]} if "01" in parts else {}
    fields = {name: parts[ai] for ai, name in _FIELDS.items() if ai in parts}
    return {"udiCarrier": [{**number, "carrierHRF": udi}], **fields}
