"""The routing: what the gates say, what is published, and publishing the one as the other."""

from __future__ import annotations

from pathlib import Path

from medferry.cutover.routes import routing_of
from medferry.cutover.routing import Routing
from medferry.cutover.routing_file import Published, publish, read_routing
from medferry.errors import MedferryError
from medferry.runtime.environment import Environment
from medferry.source.changes.cuts import writing
from medferry.source.gate.engines import gate_of
from medferry.source.gate.gate import GateBroken


def present_routing(environment: Environment) -> Routing:
    """What the gates in the legacy database say now. Raises GateBroken, SourceUnavailable, SettingsError."""
    migration = environment.migration
    if migration.gate is None:
        raise MedferryError(f"The migration {migration.name} has no gate.yaml.", "Write one: docs/runbooks/gate.md.")
    plan = migration.plan
    gate = gate_of(environment.capture, plan.unit_ids, migration.gate.gated())
    with writing(environment.capture, gate) as connection:
        found = gate.all(connection)
    if missing := sorted({*plan.unit_ids} - {one.unit for one in found}):
        raise GateBroken(f"The unit {missing[0]} has no gate.", "Run `medferry gate install`.")
    return routing_of(plan, found)


def published_routing(environment: Environment) -> Routing | None:
    """What is in the file; None: nothing was ever published. Raises SettingsError, ForeignRouting."""
    return read_routing(routing_file(environment))


def publish_routing(environment: Environment) -> Published:
    """Make the file say what the gates say; where it does, nothing is written. To be repeated without harm.

    Raises as `present_routing` and `publish`.
    """
    return publish(routing_file(environment), lambda: present_routing(environment))


def routing_file(environment: Environment) -> Path:
    """Raises SettingsError when none is configured."""
    environment.settings.require("routing_file")
    return Path(environment.settings.routing_file)
