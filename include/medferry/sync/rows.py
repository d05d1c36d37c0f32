"""A wave's rows and what was applied of them, as keys and digests: what a sweep compares."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from medferry.manifest.checkpoints import CheckpointState
from medferry.manifest.source_records import GONE
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.changes.sweep import Digests
from medferry.source.count import count_by_unit
from medferry.source.database import stream
from medferry.source.entity import SourceEntity
from medferry.source.lookup import stream_keys
from medferry.source.slices import SliceSpec, cut, rows_of
from medferry.sync.wave import SyncedWave

PAGE_ROWS = 1_000


@dataclass
class WaveRows:
    """The rows of an entity in the legacy database, by pages that are cut when the first is read."""

    wave: SyncedWave
    entity: SourceEntity
    _pages: list[SliceSpec] = field(default_factory=list)

    def page(self, connection: sa.Connection, after: Any) -> tuple[Digests, Any]:
        """Raises SourceError when the source cannot be accounted for."""
        if after is None:
            counts = count_by_unit(connection, self.entity, self.wave.environment.migration.plan.unit_ids)
            in_wave = {unit: rows for unit, rows in counts.items() if unit in self.wave.units}
            self._pages = cut(connection, self.entity, in_wave, PAGE_ROWS)
        number = 0 if after is None else after
        if number >= len(self._pages):
            return {}, None
        page = self._pages[number]
        statement, values = rows_of(connection.dialect.name, self.entity, page.units, page.low, page.high)
        digests = self._digests(stream(connection, statement, values))
        return digests, number + 1 if number + 1 < len(self._pages) else None

    def read(self, connection: sa.Connection, keys: Collection[str]) -> Digests:
        return self._digests(stream_keys(connection, self.entity, self.wave.units, list(keys)))

    def _digests(self, rows: Any) -> Digests:
        return {self.entity.ledger_key_of(row): row_digest(dump_row(row)) for row in rows}


@dataclass(frozen=True)
class AppliedRows:
    """What was applied of an entity's rows in the wave's units. `start` is the position where the sweep began.

    `goes_on`: the journal reached back to the wave's position then.
    """

    wave: SyncedWave
    entity: str
    start: str
    goes_on: bool

    def position(self) -> str:
        """Of the last cut that was applied, where the journal reaches back to it; else where the sweep began."""
        newest = self.wave.newest()
        if newest is None or not self.goes_on:
            return self.start
        position = newest.position_to if newest.state == CheckpointState.APPLIED else newest.position_from
        return position if _same_epoch(position, self.start) else self.start

    def digests(self, keys: Collection[str]) -> Digests:
        states = self.wave.states(self.entity, keys)
        return {key: state.source_digest for key, state in states.items() if self._is_there(state.unit, state.reason)}

    def keys(self) -> Collection[str]:
        return self.wave.known_keys(self.entity)

    def _is_there(self, unit: str, reason: str) -> bool:
        return reason != GONE and unit in self.wave.units


def forgotten(wave: SyncedWave, entity: str, keys: Collection[str]) -> set[str]:
    """Those of `keys` whose digest is unknown: they are due anyhow, and the journal has not missed them."""
    return {key for key, state in wave.states(entity, keys).items() if not state.source_digest and state.reason != GONE}


def _same_epoch(position: str, other: str) -> bool:
    """Whether two positions are of one journal with the same triggers."""
    return position.partition("@")[0] == other.partition("@")[0]
