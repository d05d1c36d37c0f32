"""A small clinics demo, migrated once for all tests of a module, with dirt in every table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database
from demo_clinics.generate import fill
from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import load_migration
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry.stages.prepare import scope_of
from medferry.verification.run import EntityProgress
from medferry.workflows.migrate import execute_run
from tests.stages.test_clinics_in_medplum import lenient

RUN = "r"


@pytest.fixture(scope="module")
def clinics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with migrated(tmp_path_factory.mktemp("clinics")) as environment:
        yield environment


@contextmanager
def migrated(folder: Path, patients: int = 40) -> Iterator[Environment]:
    """The demo in PostgreSQL, loaded into an embedded Medplum as run "r"."""
    unlimited = {"quota": 1_000_000_000, "token_limit": 1_000_000}
    with database.embedded() as legacy, EmbeddedMedplum(**unlimited, faults=True) as medplum:
        engine = sa.create_engine(legacy.url)
        fill(engine, seed=12, patients=patients, pace=2.0)
        engine.dispose()
        settings = Settings(
            source_url=legacy.url,
            medplum_base_url=medplum.base_url,
            medplum_client_id=medplum.client_id,
            medplum_client_secret=medplum.client_secret,
            manifest_url=f"sqlite:///{folder}/manifest.db",
            staging_url=str(folder / "staging"),
            settle_seconds=0.5,
        )
        environment = Environment(load_migration("clinics"), settings)
        lenient(environment)
        options = RunOptions(lanes=2)
        execute_run(environment, RUN, "run", scope_of(environment.migration, None, None), options, lambda *_: None)
        yield environment


def into(names: list[str]) -> EntityProgress:
    """Keeps the entity of each part of a verification as it begins."""
    return lambda name, _: names.append(name)
