"""What means nothing is left out, at any depth; what has a place keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.fhir.tidy import tidied


@pytest.mark.parametrize(
    ("given", "tidy"),
    [
        ({"name": [{"family": "X", "given": []}]}, {"name": [{"family": "X"}]}),
        ({"name": [{"family": "X", "period": {}}]}, {"name": [{"family": "X"}]}),
        ({"name": [{"family": "X", "text": None}]}, {"name": [{"family": "X"}]}),
        ({"name": [{"family": "X", "text": ""}]}, {"name": [{"family": "X"}]}),
        ({"name": [{"period": {"start": ""}}], "id": "1"}, {"id": "1"}),
        ({"name": [{"given": ["A", "", None]}]}, {"name": [{"given": ["A"]}]}),
        ({"active": False, "n": 0, "f": 0.0, "t": " "}, {"active": False, "n": 0, "f": 0.0, "t": " "}),
        (
            {"given": ["A", None], "_given": [None, {"id": "x"}]},
            {"given": ["A", None], "_given": [None, {"id": "x"}]},
        ),
        ({"given": ["A", ""], "_given": [None, {}]}, {"given": ["A"]}),
        (
            {"attachment": {"contentType": "text/plain", "data": "YWJj\r\nZGVm "}},
            {"attachment": {"contentType": "text/plain", "data": "YWJjZGVm"}},
        ),
        ({"valueSampledData": {"data": "1 2 3"}}, {"valueSampledData": {"data": "1 2 3"}}),
    ],
)
def test_a_resource_is_tidied(given: dict[str, Any], tidy: dict[str, Any]) -> None:
    assert tidied(given) == tidy


def test_a_tidy_resource_is_the_same() -> None:
    resource = {"resourceType": "Patient", "name": [{"family": "X", "given": ["A"]}], "active": False}
    assert tidied(resource) is resource
