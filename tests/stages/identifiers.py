"""What is in Medplum, found by the migration's tag and not by the crosswalk."""

from __future__ import annotations

from collections import Counter

from medferry.runtime.environment import Environment

TYPES = ("Organization", "Practitioner", "PractitionerRole", "Patient", "Observation")


def identifiers_in_medplum(tiny: Environment) -> Counter[tuple[str, str]]:
    """How often each source identifier (system, value) is there."""
    found: Counter[tuple[str, str]] = Counter()
    with tiny.medplum() as client:
        for resource_type in TYPES:
            for one in client.search_all(resource_type, [("_tag", f"urn:medferry:migration|{tiny.migration.name}")]):
                found[one["identifier"][0]["system"], one["identifier"][0]["value"]] += 1
    return found
