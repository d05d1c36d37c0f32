"""The AccessPolicy that Medferry's own client needs in Medplum for a migration, and not a right more. Pure.

Made of what the mappings produce and of what the plan lets be done: who changes either makes it anew.
"""

from __future__ import annotations

from typing import Any

from medferry.definition.migration import Migration
from medferry.fhir.identifiers import parameter_of
from medferry.fhir.references import system_token
from medferry.fhir.resource_types import kept_types
from medferry.mapping.identity import CLAIM_SYSTEM
from medferry.medplum.access_policy import READING, Interaction
from medferry.plan.model import LeftoverPolicy
from medferry.plan.sections import SideEffect

_KEPT = (*READING, Interaction.CREATE, Interaction.UPDATE)


def access_policy(migration: Migration, deletes: bool = False) -> dict[str, Any]:
    """The AccessPolicy of a migration. `deletes`: for `medferry heal`, which deletes twins of its own.

    Entries stand in the order of their types. Deleting is part of the types whose leftovers the plan removes. Where
    anything may be deleted, all types may be searched: what is referred to is not deleted.
    """
    entries = [
        _entry(kind, *_KEPT, *((Interaction.DELETE,) if deletes or kind in _removed(migration) else ()))
        for kind in sorted({kind for spec in migration.specs.values() for kind in spec.produces.values()})
    ]
    beside = _beside(migration, {entry["resourceType"] for entry in entries})
    looking = _looking({entry["resourceType"] for entry in entries}) if deletes or _removed(migration) else []
    return {
        "resourceType": "AccessPolicy",
        "name": f"Medferry: {migration.name}",
        "resource": [*entries, *beside, *looking],
    }


def _looking(produced: set[str]) -> list[dict[str, Any]]:
    """Reading of all that may refer to a record, without which none is deleted (``apply.mentions``)."""
    return [_entry(kind, Interaction.READ, Interaction.SEARCH) for kind in kept_types() if kind not in produced]


def _removed(migration: Migration) -> set[str]:
    """Types of which the plan lets leftovers be deleted."""
    removing = [name for name in migration.specs if migration.plan.leftovers_of(name) is LeftoverPolicy.REMOVE]
    return {kind for name in removing for kind in migration.specs[name].produces.values()}


def _beside(migration: Migration, produced: set[str]) -> list[dict[str, Any]]:
    """What is no migrated record: uploaded files, the claim on the identifier base, Subscriptions, the gates."""
    found = [_entry("Binary", Interaction.READ, Interaction.CREATE)] if "Binary" not in produced else []
    if "Basic" not in produced:
        claim = f"Basic?{parameter_of('Basic')}={system_token(CLAIM_SYSTEM, migration.plan.base)}"
        found.append({**_entry("Basic", *_KEPT, Interaction.DELETE), "criteria": claim})
    disabled = any(one.decision is SideEffect.DISABLE for one in migration.plan.side_effects.values())
    if "Subscription" not in produced:
        found.append(_entry("Subscription", *READING, *((Interaction.UPDATE,) if disabled else ())))
    rules = migration.gate.medplum if migration.gate else None
    if rules is not None:
        found.append(_entry("AccessPolicy", *READING, Interaction.UPDATE))
        probes = sorted({str(rule.creates["resourceType"]) for rule in rules.policies})
        tagged = system_token(f"{migration.plan.base}/gate")
        found += [
            {**_entry(kind, *READING, Interaction.DELETE), "criteria": f"{kind}?_tag={tagged}"} for kind in probes
        ]
    return found


def _entry(resource_type: str, *interactions: Interaction) -> dict[str, Any]:
    return {"resourceType": resource_type, "interaction": [str(one) for one in interactions]}
