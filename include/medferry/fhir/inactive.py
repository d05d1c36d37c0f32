"""How FHIR R4 says of a resource that its record is not in use, or not valid, any more: one element a type.

Only what the type's own definition in R4 has is here: the boolean ``active`` ("whether this record is in active use"),
the code ``inactive`` of a Location ("the location is no longer used"), and the code ``entered-in-error`` of a required
binding to a status. A type without such an element (Basic, Provenance …) cannot be inactivated, and nothing is said
about it in an extension of our own. Sources: hl7.org/fhir/R4, the page of each type; where a rule of R4 forbids another
element beside the code, that element goes (con-5, ait-2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Resource = dict[str, Any]

ERROR = "entered-in-error"


@dataclass(frozen=True, slots=True)
class NotInUse:
    """`element` gets `value`; what must not stand beside it is taken out (`without`)."""

    element: str
    value: Any
    without: tuple[str, ...] = ()


def _concept(system: str) -> dict[str, Any]:
    return {"coding": [{"code": ERROR, "system": f"http://terminology.hl7.org/CodeSystem/{system}"}]}


_BY_ACTIVE = (
    "BodyStructure",
    "Group",
    "HealthcareService",
    "Organization",
    "OrganizationAffiliation",
    "Patient",
    "Person",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
    "Schedule",
)
_BY_STATUS = (
    "Account",
    "Appointment",
    "CarePlan",
    "CareTeam",
    "ChargeItem",
    "Claim",
    "ClinicalImpression",
    "Communication",
    "CommunicationRequest",
    "Composition",
    "Consent",
    "Coverage",
    "DetectedIssue",
    "Device",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "EpisodeOfCare",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "ImagingStudy",
    "Immunization",
    "Invoice",
    "List",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "NutritionOrder",
    "Observation",
    "Procedure",
    "QuestionnaireResponse",
    "RequestGroup",
    "RiskAssessment",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "VisionPrescription",
)

NOT_IN_USE: dict[str, NotInUse] = {
    **{name: NotInUse("active", False) for name in _BY_ACTIVE},
    **{name: NotInUse("status", ERROR) for name in _BY_STATUS},
    "AllergyIntolerance": NotInUse(
        "verificationStatus", _concept("allergyintolerance-verification"), ("clinicalStatus",)
    ),
    "Condition": NotInUse("verificationStatus", _concept("condition-ver-status"), ("clinicalStatus",)),
    "Goal": NotInUse("lifecycleStatus", ERROR),
    "Location": NotInUse("status", "inactive"),
}
"""Resource type → how it says so."""


def inactivated(resource: Resource) -> Resource:
    """The resource with the one element that says that it is not in use; everything else as it is. Raises KeyError."""
    how = NOT_IN_USE[resource["resourceType"]]
    kept = {name: value for name, value in resource.items() if name not in how.without}
    return kept | {how.element: how.value}
