"""The way back: parts of a resource for the columns of a row, by the conventions of the clinics' system."""

from __future__ import annotations

from typing import Any

from medferry.mapping import InverseContext, Resource, Row
from medferry.mapping.inverse import Inexpressible


def inside(element: Any, member: str) -> Any:
    """A member of an element that may be missing; ``KEEP`` where legacy has no place for the element."""
    return element.get(member) if isinstance(element, dict) else element


def single(ctx: InverseContext, resource: Resource, *path: str) -> Any:
    """Down a path on which every list has one element; None where it ends before, ``KEEP`` where a list has several."""
    found: Any = resource
    for number, step in enumerate(path):
        found = inside(found, step)
        if isinstance(found, list):
            found = ctx.only(found, ".".join(path[: number + 1]))
    return found


def amount(ctx: InverseContext, quantity: Any, path: str) -> Any:
    """The value of a Quantity; ``KEEP`` for one that is only compared with ("less than 5")."""
    return ctx.cannot(Inexpressible.NO_PLACE, path) if inside(quantity, "comparator") else inside(quantity, "value")


def clinic_time(ctx: InverseContext, row: Row | None, value: Any, column: str, path: str) -> Any:
    """An instant as the wall time of the row's clinic, to the second."""
    if row is None or not row["time_zone"]:
        return value if value is None else ctx.cannot(Inexpressible.NO_ROW, path, "time_zone")
    return ctx.wall_time(value, column, path, row["time_zone"].strip(), whole=True)


def staff(ctx: InverseContext, reference: Any, path: str) -> Any:
    """The key of the member of staff, for a row's `staff_id`."""
    return ctx.key("staff", reference, "staff_id", path)


def status(ctx: InverseContext, table: str, resource: Resource) -> Any:
    """The one status that FHIR splits in two: ``clinicalStatus``, or ``verificationStatus`` of an error."""
    clinical, verification = resource.get("clinicalStatus"), resource.get("verificationStatus")
    path = "clinicalStatus" if clinical or not verification else "verificationStatus"
    return ctx.required(ctx.code(table, clinical or verification, "status_code", path), path)
