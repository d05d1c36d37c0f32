"""What a resource that users created says of a row that is not there yet, and what of it the row does not say.

The inverse is asked without a row first, for what the row is inserted with; then with the row as it reads, which knows
what only the database does (the time zone of its clinic). What the mapping makes of the row is held against the
resource: a birth of which the row would say something else, or less where it has a place, becomes no row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from medferry.mapping.apply_inverse import Image, InverseRefused, image_of, mapped_by_slot
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import MappingSpec, Resource, Row
from medferry.mapping.differences import differences, tops_of
from medferry.mapping.inverse import CannotExpress, Columns, Inexpressible, InverseSpec

_TOLD_ALONE = (Inexpressible.NO_PLACE, Inexpressible.OWN_WORDING)
"""What the row cannot hold of a resource and need not: it stays in Medplum."""


@dataclass(frozen=True, slots=True)
class RowBirth:
    """The columns that a resource says of its row. `refused`: why there is to be none; `told`: what it leaves out."""

    columns: Columns = field(default_factory=dict, repr=False)
    refused: tuple[CannotExpress, ...] = ()
    told: tuple[CannotExpress, ...] = ()


@dataclass(frozen=True, slots=True)
class BirthMapping:
    """Turns resources of a slot into new rows of an entity. Their references are by identifier, as a mapping's are."""

    spec: MappingSpec
    inverse: InverseSpec
    slot: str
    settings: MappingSettings

    def first(self, resource: Resource) -> RowBirth:
        """What a row is inserted with. What needs the row itself is left to `of_row`."""
        try:
            image = self._image(resource, None)
        except InverseRefused as refused:
            return RowBirth(refused=(refused.refusal,))
        decided = [one for one in image.cannot_express if one.reason != Inexpressible.NO_ROW]
        return RowBirth(image.columns, tuple(decided))

    def of_row(self, resource: Resource, row: Row, key: str) -> RowBirth:
        """What a row that was inserted has to hold; judged by what the mapping makes of it once it does."""
        try:
            image = self._image(resource, row)
            made = mapped_by_slot(self.spec, {**row, **image.columns}, key, self.settings)
        except InverseRefused as refused:
            return RowBirth(refused=(refused.refusal,))
        if self.slot not in made:
            return RowBirth(refused=(CannotExpress(self.slot, "", Inexpressible.ROW_REFUSED),))
        told = self._losses(resource, made[self.slot], image)
        why = [*image.cannot_express, *(one for one in told if one.reason not in _TOLD_ALONE)]
        return RowBirth(image.columns, tuple(why), tuple(one for one in told if one not in why))

    def _image(self, resource: Resource, row: Row | None) -> Image:
        return image_of(self.spec, self.inverse, self.slot, resource, row, self.settings)

    def _losses(self, resource: Resource, made: Resource, image: Image) -> list[CannotExpress]:
        """The places in which the row says something else; what the mapping adds where nothing stood is none."""
        found = differences(tops_of(image.read, made), resource, made)
        reasons = ((one.path, one.reason(was_removed=False)) for one in found if one.edited is not None)
        return [CannotExpress(self.slot, path, reason) for path, reason in reasons if reason]
