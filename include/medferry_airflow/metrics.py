"""How far a wave is in step, as Airflow metrics: gauges for whatever Airflow's own metrics are sent to."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from airflow.sdk.observability.stats import Stats

from medferry.errors import MedferryError
from medferry.manifest.conflicts import open_conflicts
from medferry.runtime.environment import Environment
from medferry.sync.status import WaveStatus, status_of
from medferry.sync.wave import synced_wave
from medferry_airflow.definition import served_as

log = logging.getLogger(__name__)

PREFIX = "medferry.sync"

Gauge = tuple[str, str, float]
"""(name, entity or "", value)."""


def tell_metrics(environment: Environment, wave: str) -> None:
    """Send the wave's status. What cannot be looked at is told in the log: it stops no synchronisation."""
    try:
        status = status_of(synced_wave(environment, wave, loaded=False))
        with environment.manifest.begin() as connection:
            undecided = len(open_conflicts(connection, environment.migration.name, wave))
    except MedferryError as error:
        log.warning("No metrics: %s", error.problem)
        return
    told = served_as(environment.migration.name).id_of(wave)
    for name, entity, value in [*gauges(status), ("conflicts", "", float(undecided))]:
        place = ".".join(filter(None, (PREFIX, name, told, entity)))
        # Name and tags say the same: plain statsd has no tags, and others ask by them.
        Stats.gauge(place, value, tags={"wave": told, **({"entity": entity} if entity else {})})


def gauges(status: WaveStatus) -> Iterator[Gauge]:
    """What is known; of what is not, no gauge, as a 0 would say that all is well."""
    for each in status.entities:
        known = {
            "lag_p50_seconds": each.lag_p50,
            "lag_p99_seconds": each.lag_p99,
            "pending": each.pending,
            "oldest_pending_seconds": each.oldest,
            "waiting": each.waiting,
            "miss_rate": each.miss_rate,
        }
        yield from ((name, each.entity, float(value)) for name, value in known.items() if value is not None)
    for feed in status.feeds:
        back = {"back_lag_p50_seconds": feed.lag_p50, "back_lag_p99_seconds": feed.lag_p99}
        yield from ((name, feed.resource_type, value) for name, value in back.items() if value is not None)
    of_wave = {
        "heartbeat_seconds": status.heartbeat_seconds,
        "oldest_transaction_seconds": status.oldest_transaction_seconds,
        "held_back": len(status.held_back),
        "set_aside": sum(one.changes for one in status.set_aside),
        "broken": int(bool(status.fault)),
    }
    yield from ((name, "", float(value)) for name, value in of_wave.items() if value is not None)
