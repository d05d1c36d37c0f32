"""What a synchronisation tells as Airflow metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability import stats

from medferry.source.changes.engines import remove
from medferry.sync.cycle import cycle
from medferry.sync.wave import SyncedWave
from medferry_airflow import metrics
from tests.sync.conftest import Write, captured, loaded, wave, write  # noqa: F401 - fixtures

Sent = dict[str, float]


@pytest.fixture
def sent() -> Iterator[Sent]:
    """Name → value of every gauge that reached Airflow's own backend."""
    found: Sent = {}

    class Backend:
        def gauge(self, stat: str, value: float, *_: Any, **__: Any) -> None:
            found[stat] = value

    stats.initialize(factory=Backend, export_legacy_names=True)  # type: ignore[arg-type]
    yield found
    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


def test_lag_pending_and_misses_are_gauges_of_each_entity(wave: SyncedWave, write: Write, sent: Sent) -> None:  # noqa: F811
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    cycle(wave)
    write("UPDATE patient SET family = 'Adams' WHERE id = 2")
    metrics.tell_metrics(wave.environment, "pilot")
    assert sent["medferry.sync.pending.pilot.patient"] == 1
    assert sent["medferry.sync.lag_p99_seconds.pilot.patient"] >= 0
    assert sent["medferry.sync.miss_rate.pilot.patient"] == 0
    assert "medferry.sync.lag_p99_seconds.pilot.clinic" not in sent  # nothing is known of it
    assert sent["medferry.sync.conflicts.pilot"] == 0
    assert (sent["medferry.sync.broken.pilot"], "medferry.sync.heartbeat_seconds.pilot" in sent) == (0, True)


def test_a_broken_journal_is_told_and_what_cannot_be_looked_at_stops_nothing(
    wave: SyncedWave,  # noqa: F811
    sent: Sent,
) -> None:
    remove(wave.environment.capture, wave.journal)
    metrics.tell_metrics(wave.environment, "pilot")
    assert sent["medferry.sync.broken.pilot"] == 1
    sent.clear()
    metrics.tell_metrics(wave.environment, "no-such-wave")
    assert sent == {}
