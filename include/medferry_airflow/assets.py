"""What a run of a whole wave has come to, as events of Airflow's assets: other DAGs may be scheduled on them.

    medferry://<migration>/<wave>/loaded    everything is in Medplum, and was looked at
    medferry://<migration>/<wave>/proven    and agrees with the legacy database

The tasks name an alias, as they know the events at their end alone: a dry run, a part of a wave, a replay make none.
"""

from __future__ import annotations

from enum import StrEnum

from airflow.sdk import Asset, AssetAlias

WAVES = AssetAlias("medferry waves")


class Milestone(StrEnum):
    """How far a wave has got."""

    LOADED = "loaded"
    PROVEN = "proven"


def asset_of(migration: str, wave: str, milestone: Milestone) -> Asset:
    return Asset(f"medferry://{migration}/{wave}/{milestone}")
