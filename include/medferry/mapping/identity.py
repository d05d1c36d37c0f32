"""The names that tie a Medplum resource to the legacy row it came from.

Medplum assigns ids, so a source key kept as a FHIR identifier is the only stable name (medplum: client-assigned
ids need a super admin). The system is one per entity and slot, the value is the row's key.
"""

from __future__ import annotations

from dataclasses import dataclass

from medferry.fhir.bundle import by_name
from medferry.mapping.declare import MAIN

TAG_SYSTEM = "urn:medferry:migration"
"""`meta.tag` system on everything a migration writes, so that bots and subscriptions can leave backfill alone."""

CLAIM_SYSTEM, MANIFEST_SYSTEM = "urn:medferry:claim", "urn:medferry:manifest"
"""Identifier systems of the claim on an identifier base (its value), and of the manifest whose claim it is."""
MARK_SYSTEM = "urn:medferry:mark"
"""Identifier system of the mark by which that manifest's older copies are told from it."""


@dataclass(frozen=True, slots=True)
class Naming:
    """Builds identifier systems under the plan's `identifier_base`."""

    base: str
    migration: str

    def system(self, entity: str, slot: str = MAIN) -> str:
        """Identifier system of an entity's slot: ``{base}/{entity}`` or ``{base}/{entity}/{slot}``."""
        return f"{self.base}/{entity}" if slot == MAIN else f"{self.base}/{entity}/{slot}"

    def code_system(self, table: str) -> str:
        """The system under which a code table's local codes are kept."""
        return f"{self.base}/CodeSystem/{table}"

    @property
    def tag(self) -> dict[str, str]:
        return {"system": TAG_SYSTEM, "code": self.migration}


def conditional_reference(resource_type: str, system: str, value: str) -> str:
    """A FHIR conditional reference (``Type?identifier=system|value``, or ``?_tag=``), the value percent-encoded."""
    return f"{resource_type}?{by_name(resource_type, (system, value))}"
