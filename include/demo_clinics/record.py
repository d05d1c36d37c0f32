"""One row of an entity in the generator's hands: what is stored, what is meant, and what must become of it."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from demo_clinics.catalogue import QUARANTINED, SUCCESSFUL, Kind
from demo_clinics.schema import ENTITIES

AS_OF = datetime.combine(date(2026, 6, 30), time(18))
"""The demo's present, local wall time: nothing has happened after it."""

CASCADE = "cascade"


@dataclass(slots=True, eq=False)
class Record:
    """A source record. `row` is stored as it is; `clean` and `references` (column → value, record) are what it means.

    Dirt changes `row`, and `clean` where the resource must then hold something else or nothing. `children` are records
    the resource lists (the results of a report).
    """

    entity: str
    key: int | str
    unit: str
    zone: ZoneInfo
    clean: dict[str, Any]
    references: dict[str, "Record"]
    row: dict[str, Any]
    children: list["Record"] = field(default_factory=list)
    kind: Kind | None = None
    _settled: tuple[str, str | None] | None = None

    @property
    def table(self) -> str:
        return ENTITIES[self.entity][0]

    @property
    def deleted(self) -> bool:
        return self.row["deleted_at"] is not None

    def outcome(self) -> tuple[str, str | None]:
        """(disposition, reason). Call it only when all dirt is dealt: the answer is kept."""
        if self._settled is None:
            self._settled = self._settle()
        return self._settled

    def _settle(self) -> tuple[str, str | None]:
        if self.kind and self.kind.disposition != SUCCESSFUL:
            return self.kind.disposition, self.kind.reason
        if all(r.successful for r in (*self.references.values(), *self.waited_for())):
            return SUCCESSFUL, None
        return QUARANTINED, "unresolved-reference"

    @property
    def successful(self) -> bool:
        return self.outcome()[0] == SUCCESSFUL

    def waited_for(self) -> list["Record"]:
        """The children the resource lists: those not deleted."""
        return [child for child in self.children if not child.deleted]

    @property
    def kind_name(self) -> str:
        """The kind of dirt that explains the disposition."""
        if self.kind and (self.kind.disposition != SUCCESSFUL or self.successful):
            return self.kind.name
        return CASCADE


def make_row(
    entity: str, key: int | str, clean: dict[str, Any], references: dict[str, Record], updated_at: datetime
) -> dict[str, Any]:
    """The stored row of a clean record: its own values and the keys of what it references."""
    keys = {column: record.key for column, record in references.items()}
    return {ENTITIES[entity][1]: key, **clean, **keys, "updated_at": updated_at, "deleted_at": None}


def instant(local: datetime, zone: ZoneInfo) -> str:
    """ISO 8601 with offset of a wall time that exists exactly once in `zone`; AssertionError otherwise."""
    early, late = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    assert early.utcoffset() == late.utcoffset(), "the clean model holds no time of a clock change"
    return early.isoformat(timespec="seconds")


def to_utc(local: datetime, zone: ZoneInfo) -> datetime:
    """The naive UTC time of a wall time."""
    return local.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def at(day: date, hour: int, minute: int = 0) -> datetime:
    """A wall time of a day."""
    return datetime.combine(day, time(hour, minute))
