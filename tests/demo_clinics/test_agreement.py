"""The clinics' migration, written from the README, and the truth come to the same end for every row.

No server takes part: mappings and local validation run as they are; what the server would refuse (a family name over
2,700 bytes) and the cascade of unresolved references are worked out here.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics.compare import differences
from medferry.definition.migration import Migration, load_migration
from medferry.fhir.validate import problems
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.source.database import connect_engine, stream

from .conftest import LegacyReader
from .test_truth import _references

Key = tuple[str, str]
_INDEX_BYTES = 2_700


@pytest.fixture(scope="module")
def mapped(legacy: LegacyReader) -> dict[Key, MappedRow]:
    migration = load_migration("clinics")
    engine = connect_engine(legacy.url)
    with engine.connect() as connection:
        rows = {row_key: row for name in migration.entities for row_key, row in _map(migration, name, connection)}
    engine.dispose()
    return rows


def _map(migration: Migration, name: str, connection: sa.Connection) -> Any:
    entity = migration.entities[name]
    for row in stream(connection, sa.text(entity.query(connection.dialect.name)), {}):
        key = entity.ledger_key_of(row)
        yield (name, key), apply_mapping(migration.specs[name], row, key, migration.settings)


def _outcomes(mapped: dict[Key, MappedRow]) -> dict[Key, tuple[str, str]]:
    told = {key: (row.disposition, row.reason) for key, row in mapped.items() if row.disposition != "pending"}
    for key, row in mapped.items():
        if key not in told and any(problems(resource) for resource in row.resources):
            told[key] = ("rejected", "invalid-resource")
        elif key not in told and any(map(_too_long, row.resources)):
            told[key] = ("rejected", "server-rejected")
    while unresolved := _unresolved(mapped, told):
        told |= dict.fromkeys(unresolved, ("quarantined", "unresolved-reference"))
    return told


def _too_long(resource: dict[str, Any]) -> bool:
    names = resource.get("name", []) if resource["resourceType"] == "Patient" else []
    return any(len(name.get("family", "").encode()) > _INDEX_BYTES for name in names)


def _unresolved(mapped: dict[Key, MappedRow], told: dict[Key, tuple[str, str]]) -> set[Key]:
    left = {key: row for key, row in mapped.items() if key not in told}
    there = {
        f"{r['resourceType']}?identifier={r['identifier'][0]['system']}|{r['identifier'][0]['value']}"
        for row in left.values()
        for r in row.resources
    }
    return {key for key, row in left.items() if set(_references(list(row.resources))) - there}


def test_dispositions_agree(legacy: LegacyReader, mapped: dict[Key, MappedRow]) -> None:
    truth = {key: (row["disposition"], row["reason"]) for key, row in legacy.failed.items()}
    assert _outcomes(mapped) == truth
    assert len(mapped) == legacy.truth.eligible()


def test_findings_agree(legacy: LegacyReader, mapped: dict[Key, MappedRow]) -> None:
    told = Counter((str(f["entity"]), str(f["key"]), f["reason"], f["field"]) for f in legacy.truth.findings)
    found = Counter(
        (*key, finding.reason, finding.field)
        for key, row in mapped.items()
        if key not in legacy.failed
        for finding in row.findings
        if finding.reason not in ("unmapped-code", "null-token")  # what is declared is no dirt of the generator's
    )
    assert found == told


def test_resources_agree(legacy: LegacyReader, mapped: dict[Key, MappedRow]) -> None:
    made = {
        tuple(resource["identifier"][0].values()): resource
        for key, row in mapped.items()
        if key not in legacy.failed
        for resource in row.resources
    }
    assert len(made) == len(legacy.expected)
    for line in legacy.expected:
        identifier = tuple(line["resource"]["identifier"][0].values())
        assert differences(line, made[identifier]) == [], identifier
