"""The whole migration of the sample into an embedded Medplum: every row proven, and a second run changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from embedded_medplum.server import EmbeddedMedplum
from medferry.manifest.accounting import accounts
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry.stages.prepare import scope_of
from medferry.workflows.migrate import execute_run
from tests.synthea.sample import Sample
from tests.synthea.test_entities import SKIPPED

DISPOSITIONS = ("successful", "skipped", "quarantined", "rejected", "pending")
ACTIONS = ("created", "updated", "unchanged")


def run(environment: Environment, run_id: str) -> Counter[str]:
    """Migrate and verify everything; returns rows by disposition and resources by action."""
    scope = scope_of(environment.migration, None, None)
    execute_run(environment, run_id, "run", scope, RunOptions(), lambda *_: None)
    with environment.manifest.begin() as connection:
        lines = accounts(connection, run_id)
    return +Counter({name: sum(getattr(line, name) for line in lines) for name in (*DISPOSITIONS, *ACTIONS)})


def test_the_sample_arrives_whole_and_once(sample: Sample, medplum: EmbeddedMedplum, tmp_path: Path) -> None:
    settings = Settings(
        source_url=str(sample.engine.url),
        medplum_base_url=medplum.base_url,
        medplum_client_id=medplum.client_id,
        medplum_client_secret=medplum.client_secret,
        manifest_url=f"sqlite:///{tmp_path}/manifest.db",
        staging_url=str(tmp_path / "staging"),
        settle_seconds=0.5,
    )
    environment = Environment(sample.migration, settings)
    skipped = sum(SKIPPED.values())
    rows = 11_969 - sample.loaded["claims"] - sample.loaded["claims_transactions"]
    resources = sum(len(row.resources) for entity in sample.migration.entities for row in sample.mapped(entity))
    assert run(environment, "first") == {
        "successful": rows - skipped,
        "skipped": skipped,
        "created": resources,
    }
    assert run(environment, "again") == {
        "successful": rows - skipped,
        "skipped": skipped,
        "unchanged": resources,
    }
