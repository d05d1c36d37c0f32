"""How the way back is declared: a decorated pure function from a resource to the columns of its legacy row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from medferry.mapping.declare import Resource, Row
from medferry.source.births import NewRows
from medferry.source.legacy_table import LegacyTable

if TYPE_CHECKING:
    from medferry.mapping.inverse_context import InverseContext

Columns: TypeAlias = Mapping[str, Any]
"""Column of the entity's row → the value that the resource says, in the form that a staged row has it."""

InverseFunction: TypeAlias = "Callable[[Resource, Row | None, InverseContext], Columns]"


class _Keep(Enum):
    KEEP = "keep"


KEEP: Final = _Keep.KEEP
"""Stands for the value of a column that cannot be expressed: the row keeps what it has."""

Kept = Literal[_Keep.KEEP]


class Inexpressible(StrEnum):
    """Why the legacy system cannot hold what a resource says; an inverse mapping may have words of its own."""

    NO_LOCAL_CODE = "no-local-code"
    SEVERAL_LOCAL_CODES = "several-local-codes"
    CODES_DISAGREE = "codes-disagree"
    UNKNOWN_REFERENCE = "unknown-reference"
    READS_OTHERWISE = "reads-otherwise"
    """The mapping would read the value as another, or refuse it: a null token, a sentinel, an hour that comes twice."""
    NO_TIME_OF_DAY = "no-time-of-day"
    PARTIAL_DATE = "partial-date"
    FRACTION = "fraction"
    TOO_LONG = "too-long"
    NO_PLACE = "no-place"
    CANNOT_BE_REMOVED = "cannot-be-removed"
    COMES_BACK_OTHERWISE = "comes-back-otherwise"
    OWN_WORDING = "own-wording"
    """Only a text or display differs from what the code table says."""
    RESOURCES_DISAGREE = "resources-disagree"
    """Several resources of one row say different things of one column."""
    ROW_REFUSED = "row-refused"
    """The row as it would be becomes no resource by its own mapping."""
    NO_ROW = "no-row"
    INVERSE_ERROR = "inverse-error"


@dataclass(frozen=True, slots=True)
class CannotExpress:
    """A place of a resource that has no way back. Holds no value: `detail` names code, a column or a reason."""

    slot: str
    path: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What a row has to become, and what of the resource stays out of it."""

    columns: Columns = field(default_factory=dict, repr=False)
    """Only those that change."""
    cannot_express: tuple[CannotExpress, ...] = ()


@dataclass(frozen=True, slots=True)
class InverseSpec:
    """The inverse of an entity's mapping, and the tables that it may write."""

    entity: str
    tables: tuple[LegacyTable, ...]
    function: InverseFunction
    births: NewRows | None = None
    """How what users create in Medplum gets a row; None: it gets none, and is told."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the entity's row that it may change."""
        return frozenset(column for table in self.tables for column in table.columns)

    def columns_of(self, row: Row | None) -> frozenset[str]:
        """Those that it may give for a row; of a new one (None) those that only such a row gets, too."""
        return self.columns | self.births.columns.keys() if row is None and self.births else self.columns


def inverse(
    *, entity: str, tables: Iterable[LegacyTable], births: NewRows | None = None
) -> Callable[[InverseFunction], InverseSpec]:
    """Declare the way back of an entity beside its mapping; `births` (``new_rows``) lets it take births, too.

    The function says what every column has to hold for the resource, not what is new in it: Medferry compares what it
    says of the resource before and after, so that a value nobody touched is never written, however the row spells it.
    The first of `tables` is the entity's own.
    """

    def declare(function: InverseFunction) -> InverseSpec:
        return InverseSpec(entity, tuple(tables), function, births)

    return declare
