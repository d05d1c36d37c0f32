"""The routing: what the gates say, what is published, and publishing the one as the other."""

from __future__ import annotations

import logging
from pathlib import Path

from medferry.cutover.routes import routing_of
from medferry.cutover.routing import Routing
from medferry.cutover.routing_file import Published, publish, read_routing
from medferry.cutover.webhook import nudge
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_gate import legacy_gate
from medferry.runtime.settings import Settings
from medferry.source.changes.cuts import writing
from medferry.source.gate.gate import GateBroken

log = logging.getLogger(__name__)


def present_routing(environment: Environment) -> Routing:
    """What the gates in the legacy database say now. Raises GateBroken, SourceUnavailable, SettingsError."""
    plan, gate = environment.migration.plan, legacy_gate(environment)
    with writing(environment.capture, gate) as connection:
        found = gate.all(connection)
    if missing := sorted({*plan.unit_ids} - {one.unit for one in found}):
        raise GateBroken(f"The unit {missing[0]} has no gate.", "Run `medferry gate install`.")
    return routing_of(plan, found)


def published_routing(environment: Environment) -> Routing | None:
    """What is in the file; None: nothing was ever published. Raises SettingsError, ForeignRouting."""
    return read_routing(routing_path(environment.settings))


def publish_routing(environment: Environment) -> Published:
    """Make the file say what the gates say; where it does, nothing is written. To be repeated without harm.

    A change is told to the webhook, if there is one. Raises as `present_routing` and `publish`.
    """
    settings = environment.settings
    if settings.routing_webhook:
        settings.require("routing_webhook_secret")
    done = publish(routing_path(environment.settings), lambda: present_routing(environment))
    hook, secret = settings.routing_webhook, settings.routing_webhook_secret
    if done.changed and hook and not nudge(hook, secret, done.routing):
        log.warning("The webhook of the routing was not told of version %d; the file has it.", done.routing.version)
    return done


def routing_path(settings: Settings) -> Path:
    """Raises SettingsError when none is configured."""
    settings.require("routing_file")
    return Path(settings.routing_file)
