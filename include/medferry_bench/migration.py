"""The demo's migration under an identifier base of the measurement's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from medferry.definition.migration import Migration, load_migration
from medferry.medplum.http import HttpSettings
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings, plain_hosts

NAME = "clinics"


def based(migration: Migration, base: str) -> Migration:
    """The same migration, its identifiers under `base`."""
    return replace(migration, plan=migration.plan.model_copy(update={"identifier_base": base}))


def systems_of(migration: Migration) -> list[tuple[str, str]]:
    """(resource type, identifier system) of everything that the migration writes."""
    specs = migration.specs.values()
    return [(kind, migration.naming.system(s.entity, slot)) for s in specs for slot, kind in s.produces.items()]


def environment(settings: dict[str, Any], base: str = "") -> Environment:
    """What the stages need; an empty `base` is the plan's own."""
    migration = load_migration(NAME)
    http = HttpSettings(plain_hosts=plain_hosts())
    return Environment(based(migration, base) if base else migration, Settings(**settings, medplum_http=http))
