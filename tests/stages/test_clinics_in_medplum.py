"""The whole way on the demo clinics: Medplum ends with the generator's truth, row by row, value by value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import database
from demo_clinics.compare import differences
from demo_clinics.generate import fill
from demo_clinics.truth import Truth, read_expectations
from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import load_migration
from medferry.fhir.references import references
from medferry.manifest.tables import source_record
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry.stages.prepare import scope_of
from medferry.workflows.migrate import execute_run

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Migrated:
    """A finished migration of a small demo: the truth, the environment, and every resource in Medplum by its name."""

    truth: Truth
    expected: list[dict[str, Any]]
    environment: Environment
    resources: dict[tuple[str, str, str], dict[str, Any]]
    names: dict[str, str]


@pytest.fixture(scope="module", params=["lookup", "conditional"])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    folder = tmp_path_factory.mktemp("clinics")
    with database.embedded() as legacy, EmbeddedMedplum(quota=1_000_000_000) as medplum:
        engine = sa.create_engine(legacy.url)
        truth = fill(engine, seed=11, patients=60, pace=2.0, truth_path=folder / "truth.json")
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
        options = RunOptions(load_mode=request.param, lanes=3, slice_rows=200)
        execute_run(environment, "r", "run", scope_of(environment.migration, None, None), options, lambda *_: None)
        resources = read_all(environment)
        yield Migrated(truth, list(expected_lines(folder)), environment, resources, names_of(resources))


def lenient(environment: Environment) -> None:
    """Twice the dirt is more than the demo's plan accepts; the thresholds have a test of their own."""
    plan = environment.migration.plan
    accepted = plan.acceptance.model_copy(
        update={"max_rejected_share": 1.0, "max_quarantined_share": 1.0, "small_group": 1_000, "entities": {}}
    )
    object.__setattr__(environment.migration, "plan", plan.model_copy(update={"acceptance": accepted}))


def expected_lines(folder: Path) -> Iterator[dict[str, Any]]:
    return read_expectations(folder / "truth.expected.ndjson.gz")


def read_all(environment: Environment) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(type, system, value) of the source identifier → resource, by a search of its own."""
    types = {t for spec in environment.migration.specs.values() for t in spec.produces.values()}
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    with environment.medplum() as client:
        for resource_type in sorted(types):
            for resource in client.search_all(resource_type, []):
                first = resource["identifier"][0]
                name = (resource_type, first["system"], first["value"])
                assert name not in found, "two resources of one source identifier"
                found[name] = resource
    return found


def names_of(resources: dict[tuple[str, str, str], dict[str, Any]]) -> dict[str, str]:
    """Type/id → the truth's form of a reference."""
    return {f"{t}/{r['id']}": f"{t}?identifier={system}|{value}" for (t, system, value), r in resources.items()}


def test_every_row_ends_as_the_generator_knows(migrated: Migrated) -> None:
    with migrated.environment.manifest.begin() as connection:
        units = connection.execute(sa.select(source_record)).mappings().all()
    told = {
        (u["entity"], u["key"]): (u["unit"], u["disposition"], u["reason"])
        for u in units
        if u["disposition"] != "successful"
    }
    true = {(r["entity"], r["key"]): (r["unit"], r["disposition"], r["reason"]) for r in migrated.truth.rows}
    assert told == true
    assert len(units) == migrated.truth.eligible()
    assert {reason for _, _, reason in told.values()} >= {"invalid-resource", "unresolved-reference", "soft-deleted"}


def test_medplum_holds_the_expected_resources_and_no_other(migrated: Migrated) -> None:
    expected = {identity_of(line["resource"]) for line in migrated.expected}
    assert migrated.resources.keys() == expected


def identity_of(resource: dict[str, Any]) -> tuple[str, str, str]:
    bases = [i for i in resource["identifier"] if i["system"].startswith("https://clinics.example/legacy")]
    return resource["resourceType"], bases[0]["system"], bases[0]["value"]


def test_every_expected_value_is_there(migrated: Migrated) -> None:
    wrong = {
        identity_of(line["resource"]): found
        for line in migrated.expected
        if (found := differences(line, migrated.resources[identity_of(line["resource"])], migrated.names.__getitem__))
    }
    assert wrong == {}


def test_every_reference_is_literal_and_resolves(migrated: Migrated) -> None:
    pointed = {found["reference"] for resource in migrated.resources.values() for found in references(resource)}
    assert pointed
    assert pointed <= migrated.names.keys()
