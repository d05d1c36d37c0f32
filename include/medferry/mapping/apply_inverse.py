"""Turn the resources of a row into changes of its columns, and report what has no way back.

The inverse is asked twice: what the columns are for the resources as the row gives them, and for the resources as they
are now. Only what differs is a change, so a row that nobody edited is never written. The changed row is then mapped
again: what does not come back as it was edited is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from medferry.fhir.identifiers import names_of
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import MappingSpec, Resource, Row
from medferry.mapping.differences import differences, tops_of
from medferry.mapping.inverse import KEEP, CannotExpress, Columns, Inexpressible, InverseSpec, RowChanges
from medferry.mapping.inverse_context import InverseContext
from medferry.mapping.outcomes import Disposition
from medferry.mapping.quiet import quiet
from medferry.mapping.raised import is_fault, place_of
from medferry.mapping.told import told_detail, told_path, told_reason
from medferry.mapping.whole_values import parted

BySlot = Mapping[str, Resource]


@dataclass(frozen=True, slots=True)
class Image:
    """What the inverse says of one resource."""

    columns: Columns
    paths: Mapping[str, str]
    read: frozenset[str]
    cannot_express: tuple[CannotExpress, ...]


class _Watched(dict[str, Any]):
    """A resource that remembers which of its elements were asked for: what those hold has to come back."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


class InverseRefused(Exception):
    def __init__(self, refusal: CannotExpress) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def apply_inverse(
    spec: MappingSpec,
    inverse: InverseSpec,
    row: Row,
    key: str,
    resources: BySlot,
    settings: MappingSettings,
    base: BySlot | None = None,
) -> RowChanges:
    """The changes of `row` that bring it to `resources` (by slot, their references by identifier as a mapping's are).

    `base` is what they were before they were edited, by default what the row becomes now. Raises nothing of its own: a
    fault of the inverse's code is reported, too, and then nothing is changed.
    """
    try:
        mapped = mapped_by_slot(spec, row, key, settings)
        before = {**mapped, **(base or {})}
        now = {**before, **resources}
        images = {slot: image_of(spec, inverse, slot, resource, row, settings) for slot, resource in now.items()}
        former = {slot: image_of(spec, inverse, slot, resource, row, settings) for slot, resource in before.items()}
    except InverseRefused as refused:
        return RowChanges(cannot_express=(refused.refusal,))
    apart = {
        slot: parted(image.cannot_express, former[slot].cannot_express, image.paths, now[slot], before[slot])
        for slot, image in images.items()
        if slot in former
    }
    columns, told = _changes(images, former, apart)
    try:
        returned = mapped_by_slot(spec, {**row, **columns}, key, settings)
    except InverseRefused as refused:
        detail = refused.refusal.detail
        told += [CannotExpress(slot, image.paths.get(column, ""), Inexpressible.ROW_REFUSED, detail)
                 for slot, image in images.items() for column in columns if column in image.columns]  # fmt: skip
        columns, returned = {}, mapped
    for slot, edited in resources.items():
        versions = before.get(slot, {}), mapped.get(slot, {}), returned.get(slot, {})
        told += _losses(slot, edited, versions, images[slot], former.get(slot), [one.path for one in told])
    return RowChanges(columns, tuple(dict.fromkeys(told)))


def by_slot(spec: MappingSpec, resources: Iterable[Resource], settings: MappingSettings) -> BySlot:
    """The resources of a row by the slot that their names tell."""
    slots = {settings.naming.system(spec.entity, slot): slot for slot in spec.produces}
    found = {}
    for resource in resources:
        for system, _ in names_of(resource):
            if system in slots:
                found[slots[system]] = resource
    return found


def mapped_by_slot(spec: MappingSpec, row: Row, key: str, settings: MappingSettings) -> BySlot:
    """What a row becomes, by slot. Raises InverseRefused where it becomes nothing."""
    mapped: MappedRow = apply_mapping(spec, row, key, settings)
    if mapped.disposition is not Disposition.PENDING:
        detail = " ".join(part for part in (mapped.disposition, mapped.reason, mapped.field, mapped.place) if part)
        raise InverseRefused(CannotExpress("", "", Inexpressible.NO_ROW, detail))
    return by_slot(spec, mapped.resources, settings)


@quiet
def image_of(
    spec: MappingSpec, inverse: InverseSpec, slot: str, resource: Resource, row: Row | None, settings: MappingSettings
) -> Image:
    """What the inverse says of a resource, as that of a slot. Raises InverseRefused."""
    context = InverseContext(spec, slot, row, settings)
    try:
        watched = _Watched(resource)
        columns = dict(inverse.function(watched, row, context))
    except BaseException as error:
        if not is_fault(error):
            raise
        raise InverseRefused(CannotExpress(slot, "", Inexpressible.INVERSE_ERROR, place_of(error))) from None
    if strays := sorted(map(str, set(columns) - inverse.columns_of(row))):
        named = strays[0] if strays[0] in settings.words else "a column"
        detail = f"it gives {named}, which is in none of its tables"
        raise InverseRefused(CannotExpress(slot, "", Inexpressible.INVERSE_ERROR, detail))
    told = {column: value for column, value in columns.items() if value is not KEEP}
    paths = {column: told_path(path, settings) for column, path in context.paths.items()}
    refused = tuple(_told(one, inverse, row, settings) for one in context.cannot_express)
    return Image(told, paths, frozenset(watched.read), refused)


def _told(one: CannotExpress, inverse: InverseSpec, row: Row | None, settings: MappingSettings) -> CannotExpress:
    """Without what may be a value of the resource or of the row."""
    columns = inverse.columns_of(row) | {*(row or ())}
    detail = told_detail(one.detail, settings, columns)
    return replace(one, path=told_path(one.path, settings), reason=told_reason(one.reason, settings), detail=detail)


def _changes(
    images: Mapping[str, Image], former: Mapping[str, Image], apart: Mapping[str, frozenset[str]]
) -> tuple[Columns, list[CannotExpress]]:
    """The columns of which the resources say something new, where all that speak of one say the same.

    But for those of a value that cannot be written whole: `apart`.
    """
    columns: dict[str, object] = {}
    disagreeing = []
    for slot, image in images.items():
        before = former[slot].columns if slot in former else {}
        for column, value in image.columns.items():
            if (column in before and before[column] == value) or column in apart.get(slot, ()):
                continue
            said = [other.columns[column] for other in images.values() if column in other.columns]
            if any(other != value for other in said):
                path = image.paths.get(column, "")
                disagreeing.append(CannotExpress(slot, path, Inexpressible.RESOURCES_DISAGREE, column))
            else:
                columns[column] = value
    return columns, disagreeing


def _losses(
    slot: str,
    edited: Resource,
    versions: tuple[Resource, Resource, Resource],
    image: Image,
    former: Image | None,
    named: list[str],
) -> list[CannotExpress]:
    """What of a resource does not come back, but for the `named` places; what was so before is none of its losses."""
    before, mapped, returned = versions
    tops = tops_of(image.read, before, mapped, returned)
    as_before = differences(tops, before, mapped)
    removed = [one for one in differences(tops, edited, before) if one.edited is None]
    told = [one for one in image.cannot_express if former is None or one not in former.cannot_express]
    named = [*named, *(one.path for one in told)]
    for one in differences(tops, edited, returned):
        reason = one.reason(was_removed=one in removed)
        if reason and one not in as_before and not any(_below(one.path, path) for path in named):
            told.append(CannotExpress(slot, one.path, reason))
    return told


def _below(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))
