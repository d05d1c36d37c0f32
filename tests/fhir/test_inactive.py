"""Every element by which a record is said to be out of use is one that R4 defines, with that value."""

from __future__ import annotations

import pytest
from fhir.resources.R4B import get_fhir_model_class

from medferry.fhir.inactive import ERROR, NOT_IN_USE, NotInUse, inactivated

LONGER = {"DetectedIssue", "DiagnosticReport", "Encounter", "Observation", "RiskAssessment", "SupplyRequest", "Task"}
"""Whose list of codes the models cut off before its end; each has the code on its page of R4."""


@pytest.mark.parametrize(("resource_type", "how"), NOT_IN_USE.items())
def test_r4_defines_it(resource_type: str, how: NotInUse) -> None:
    field = get_fhir_model_class(resource_type).model_fields[how.element]
    assert {*how.without} <= get_fhir_model_class(resource_type).model_fields.keys()
    if isinstance(how.value, str):
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        codes = extra["enum_values"]
        assert isinstance(codes, list) and (how.value in codes or ("+" in codes and resource_type in LONGER))
    elif how.value is False:
        assert "bool" in str(field.annotation).lower()


def test_what_must_not_stand_beside_the_code_goes() -> None:
    made = inactivated({"resourceType": "Condition", "clinicalStatus": {"text": "x"}, "subject": {"display": "y"}})
    assert made["verificationStatus"]["coding"][0]["code"] == ERROR
    assert "clinicalStatus" not in made and made["subject"] == {"display": "y"}


def test_a_type_without_such_an_element() -> None:
    with pytest.raises(KeyError):
        inactivated({"resourceType": "Basic"})
