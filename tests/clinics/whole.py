"""Runs a whole legacy database through SQL, mappings, validation and reference check, as a load would end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.fhir.references import parse_conditional, references
from medferry.fhir.validate import problems
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot, stream
from medferry.source.slices import rows_of

LONGEST_FAMILY = 2_700
"""Bytes of an indexed string that Medplum takes."""


@dataclass
class Outcome:
    """What became of every row, and the resources of the successful ones by (entity, key, slot)."""

    rows: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    findings: set[tuple[str, str, str, str]] = field(default_factory=set)
    resources: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    names: set[tuple[str, str]] = field(default_factory=set)
    """Identifiers of everything that would be in Medplum."""


def migrate(migration: Migration, engine: sa.Engine) -> Outcome:
    """Map every row, level by level."""
    outcome = Outcome()
    with snapshot(engine) as connection:
        for entity in (name for level in migration.levels for name in level):
            _migrate_entity(migration, connection, entity, outcome)
    return outcome


def _migrate_entity(migration: Migration, connection: sa.Connection, name: str, outcome: Outcome) -> None:
    entity, spec = migration.entities[name], migration.specs[name]
    for unit, number in count_by_unit(connection, entity, migration.plan.unit_ids).items():
        outcome.counts[name, unit] = number
    statement, values = rows_of(connection.dialect.name, entity, migration.plan.unit_ids, None, None)
    for row in stream(connection, statement, values):
        key = entity.ledger_key_of(row)
        mapped = apply_mapping(spec, row, key, migration.settings)
        disposition, reason = _disposition(mapped, outcome)
        ended = {"unit": entity.unit_of(row), "disposition": disposition, "reason": reason, "field": mapped.field}
        outcome.rows[name, key] = {part: value for part, value in ended.items() if value}
        if disposition == "successful":
            _keep(migration, name, key, mapped, outcome)


def _disposition(mapped: MappedRow, outcome: Outcome) -> tuple[str, str]:
    if mapped.disposition != "pending":
        return mapped.disposition, mapped.reason
    for resource in mapped.resources:
        if problems(resource):
            return "rejected", "invalid-resource"
    wanted = {parse_conditional(ref["reference"]) for res in mapped.resources for ref in references(res)}
    if any(parsed is None or parsed[1:] not in outcome.names for parsed in wanted):
        return "quarantined", "unresolved-reference"
    family = [name.get("family", "") for res in mapped.resources for name in _names(res)]
    if any(len(text.encode()) > LONGEST_FAMILY for text in family):
        return "rejected", "server-rejected"
    return "successful", ""


def _names(resource: dict[str, Any]) -> list[dict[str, Any]]:
    names = resource.get("name", [])
    return names if isinstance(names, list) else []


def _keep(migration: Migration, name: str, key: str, mapped: MappedRow, outcome: Outcome) -> None:
    slots = {migration.naming.system(name, slot): slot for slot in migration.specs[name].produces}
    for resource in mapped.resources:
        system, value = resource["identifier"][0]["system"], resource["identifier"][0]["value"]
        outcome.names.add((system, value))
        outcome.resources[name, key, slots[system]] = resource
    outcome.findings |= {(name, key, f.reason, f.field) for f in mapped.findings}
