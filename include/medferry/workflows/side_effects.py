"""Subscriptions that a backfill would fire: look at them, switch off what the plan says, restore it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.errors import MedferryError, OptionError, SettingsError
from medferry.governance.side_effects import ACTIVE, OFF, SideEffectLine, lines_of
from medferry.manifest.database import create_manifest
from medferry.manifest.switched_off import Switch, note_switch, switched_off
from medferry.medplum import budget as points
from medferry.medplum.client import MedplumClient
from medferry.plan.sections import SideEffect
from medferry.runtime.environment import Environment


class SwitchRefused(MedferryError):
    """Medplum did not change a Subscription."""


def look(environment: Environment) -> list[SideEffectLine]:
    """Every Subscription that what the migration writes would fire, or that is off by us. Reads only."""
    with environment.medplum() as client:
        found = _subscriptions(client)
    migration, tag = environment.migration, environment.migration.naming.tag
    types = {kind for spec in migration.specs.values() for kind in spec.produces.values()}
    ours = _switched_off(environment, found)
    return lines_of(found.values(), types, migration.plan.side_effects, (tag["system"], tag["code"]), ours)


def disable(environment: Environment, person: str) -> Iterator[str]:
    """Switch off what the plan says; yields each place. Noted first: who dies in between can still restore.

    Raises OptionError, SwitchRefused.
    """
    _named(person)
    create_manifest(environment.settings.manifest_url)  # before the first load there is none
    wanted = environment.migration.plan.side_effects
    with environment.medplum() as client:
        for place, one in _subscriptions(client).items():
            decided = wanted.get(place)
            if decided and decided.decision is SideEffect.DISABLE and one.get("status") == ACTIVE:
                with environment.manifest.begin() as connection:
                    note_switch(connection, environment.migration.name, place, Switch.OFF, person)
                _set(client, place, one, OFF)
                yield place


def restore(environment: Environment, person: str) -> Iterator[str]:
    """Switch on again what we have switched off; yields each place. Raises OptionError, SwitchRefused."""
    _named(person)
    with environment.medplum() as client:
        found = _subscriptions(client)
        for place in sorted(_switched_off(environment, found)):
            if found[place].get("status") == OFF:
                _set(client, place, found[place], ACTIVE)
            with environment.manifest.begin() as connection:
                note_switch(connection, environment.migration.name, place, Switch.RESTORED, person)
            yield place


def _named(person: str) -> None:
    if not person.strip():
        raise OptionError("A person must answer for it.", "Give --by NAME.")


def _subscriptions(client: MedplumClient) -> dict[str, dict[str, Any]]:
    return {f"Subscription/{one['id']}": one for one in client.search_all("Subscription", [])}


def _switched_off(environment: Environment, found: dict[str, dict[str, Any]]) -> set[str]:
    try:
        manifest = environment.manifest
    except SettingsError:  # before the first load there is none, and nothing was switched off
        return set()
    with manifest.begin() as connection:
        return switched_off(connection, environment.migration.name, found)


def _set(client: MedplumClient, place: str, one: dict[str, Any], status: str) -> None:
    """In exactly the version that was read. Raises SwitchRefused."""
    request = {"method": "PUT", "url": place, "ifMatch": f'W/"{one["meta"]["versionId"]}"'}
    meta = {name: value for name, value in one["meta"].items() if name not in ("versionId", "lastUpdated", "author")}
    [outcome] = client.batch([{"resource": {**one, "meta": meta, "status": status}, "request": request}], points.WRITE)
    if not outcome.done:
        problem = f"Medplum did not switch {place} {status} (HTTP {outcome.status})."
        raise SwitchRefused(problem, "Check the client's rights on Subscription, and try again.")
