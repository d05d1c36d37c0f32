"""How far the waves of a run are in step, as the manifest knows it, and their lag over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from markupsafe import Markup

from medferry.definition.migration import Migration
from medferry.manifest import checkpoints, sweeps
from medferry.manifest.checkpoints import Checkpoint
from medferry.manifest.waiting import waiting_records
from medferry.plan.sections import EVERYTHING
from medferry.report.time_chart import LEFT, WIDTH, TimeChart
from medferry.sync.status import RECENT, lags_of, quantile

_CHART = TimeChart(height=130, top=14)
_POINTS = 240


@dataclass(frozen=True, slots=True)
class EntityInStep:
    """Lag in seconds over the last 500 cuts with a record; None: nothing was settled yet."""

    entity: str
    lag_p50: float | None
    lag_p99: float | None
    waiting: int
    swept_at: str
    miss_rate: float | None


@dataclass(frozen=True, slots=True)
class WaveInStep:
    """`lags` is (when a cut was applied, seconds of its slowest change), the oldest first."""

    wave: str
    cut_at: str
    state: str
    entities: list[EntityInStep]
    lags: list[tuple[str, float]]

    @property
    def chart(self) -> Markup:
        return lag_svg(self.lags)


def waves_in_step(connection: sa.Connection, migration: Migration, units: Sequence[str]) -> list[WaveInStep]:
    """Of those waves that have a unit of their own among `units` and are kept in step; none of the others."""
    plan = migration.plan
    waves = [(wave.id, wave.units) for wave in plan.waves] or [(EVERYTHING, plan.unit_ids)]
    found = [_wave(connection, migration, name) for name, own in waves if set(own) & set(units)]
    return [wave for wave in found if wave is not None]


def _wave(connection: sa.Connection, migration: Migration, wave: str) -> WaveInStep | None:
    newest = checkpoints.newest(connection, migration.name, wave)
    if newest is None:
        return None
    recent = checkpoints.recent(connection, migration.name, wave, RECENT)
    swept = sweeps.newest_sweeps(connection, migration.name, wave)
    lags = lags_of(recent)
    units = migration.plan.unit_ids if wave == EVERYTHING else migration.plan.units_of_wave(wave)
    names, entities = [entity for level in migration.levels for entity in level], []
    waiting = waiting_records(connection, migration.name, names, units)
    for name in names:
        of_entity, sweep = lags.get(name, Counter()), swept.get(name)
        entities.append(
            EntityInStep(
                name,
                quantile(of_entity, 0.5),
                quantile(of_entity, 0.99),
                len(waiting.get(name, ())),
                sweep.finished_at or "" if sweep else "",
                sweep.miss_rate if sweep else None,
            )
        )
    return WaveInStep(wave, newest.cut_at, newest.state, entities, _over_time(recent))


def _over_time(recent: Sequence[Checkpoint]) -> list[tuple[str, float]]:
    slowest = [(cut.applied_at, [lag for lags in lags_of([cut]).values() for lag in lags]) for cut in reversed(recent)]
    return [(at, max(lags)) for at, lags in slowest if at and lags]


def lag_svg(lags: Sequence[tuple[str, float]]) -> Markup:
    """The slowest change of each cut as an inline SVG, at most 240 bars, each the slowest of its time; empty: none."""
    if not lags:
        return Markup("")
    times = [datetime.fromisoformat(at).timestamp() for at, _ in lags]
    span = max(times[-1] - times[0], 1.0)
    bars: dict[int, float] = {}
    for time, (_, seconds) in zip(times, lags, strict=True):
        place = min(int((time - times[0]) / span * _POINTS), _POINTS - 1)
        bars[place] = max(seconds, bars.get(place, 0.0))
    top, step = max(*bars.values(), 1.0), (WIDTH - LEFT) / _POINTS
    drawn = "".join(
        _CHART.bar(LEFT + place * step, step, 0.0, max(seconds / top * _CHART.room, 1), "#2f5d9b")
        for place, seconds in sorted(bars.items())
    )
    first, last = lags[0][0][:19].replace("T", " "), lags[-1][0][11:19]
    return _CHART.around(drawn, "Lag in seconds", f"{top:,.0f} s", first, last)
