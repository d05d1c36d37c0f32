"""The gates of a migration's units in the legacy database, by the account that may write there."""

from __future__ import annotations

from medferry.errors import MedferryError
from medferry.runtime.environment import Environment
from medferry.source.gate.engines import gate_of
from medferry.source.gate.gate import Gate


def legacy_gate(environment: Environment) -> Gate:
    """Raises MedferryError where the migration has no gate.yaml, SourceError for an engine that has no gates."""
    migration = environment.migration
    if migration.gate is None:
        raise MedferryError(f"The migration {migration.name} has no gate.yaml.", "Write one: docs/runbooks/gate.md.")
    return gate_of(environment.capture, migration.plan.unit_ids, migration.gate.gated())
