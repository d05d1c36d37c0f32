"""The state of one generation: random numbers, key counters, dirt in turn, clinics, and the records just made."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from demo_clinics.dealer import Dealer
from demo_clinics.record import Record, make_row, to_utc
from demo_clinics.schema import ENTITIES, METADATA

PRESCRIBERS = frozenset({"MD", "DO", "NP", "PA"})

Loose = tuple[str, dict[str, Any]]
"""(table, row) of a table that is no entity."""


@dataclass(slots=True)
class Clinic:
    """A clinic with the rooms and people that visits can use. `staff` holds records of its unit or of `shared`."""

    record: Record
    zone: ZoneInfo
    zips: tuple[str, ...]
    rooms: list[Record] = field(default_factory=list)
    staff: list[Record] = field(default_factory=list)

    @property
    def unit(self) -> str:
        return str(self.record.key)

    @property
    def prescribers(self) -> list[Record]:
        return [s for s in self.staff if s.clean["credential_code"] in PRESCRIBERS]


@dataclass(slots=True)
class World:
    """What one generation knows. Records enter through `add`, which deals them dirt, and leave through `take`."""

    rng: Random
    dealer: Dealer
    clinics: list[Clinic] = field(default_factory=list)
    _keys: Counter[str] = field(default_factory=Counter)
    _made: list[Record] = field(default_factory=list)
    loose: list[Loose] = field(default_factory=list)
    outside: dict[str, list[int]] = field(default_factory=dict)

    def next_key(self, name: str) -> int:
        """Count per table: 1, 2, 3 …"""
        self._keys[name] += 1
        return self._keys[name]

    def add(
        self, entity: str, unit: str, zone: ZoneInfo, clean: dict[str, Any], references: dict[str, Record],
        touched: datetime, key: str | None = None,
    ) -> Record:  # fmt: skip
        """Make a record last changed at `touched` (wall time), deal dirt to it, and keep it and what the dirt adds."""
        value = key or self.next_key(entity)
        row = make_row(entity, value, clean, references, to_utc(touched, zone))
        if "clinic_id" in METADATA.tables[ENTITIES[entity][0]].columns:
            row.setdefault("clinic_id", unit)
        record = Record(entity, value, unit, zone, dict(clean), dict(references), row)
        self._made.append(record)
        self._made += self.dealer.deal(record, self.next_key, self.rng)
        return record

    def take(self) -> list[Record]:
        """The records made since the last call."""
        made, self._made = self._made, []
        return made
