"""Which resource types a mapping may produce: those of R4 that Medplum keeps and finds, and that can be validated."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.domainresource import DomainResource

TABLE = Path(__file__).with_name("r4_types.json")
"""The types of R4 that are kept and searched, whether a mapping may produce them or not; a test keeps it so."""

_BUNDLE = "Bundle"
_BINARY = "Binary"
_PASSING = frozenset({"DomainResource", "OperationOutcome"})
"""What is exchanged and not kept."""

_R4_ONLY = frozenset(
    {
        "EffectEvidenceSynthesis",
        "MedicinalProduct",
        "MedicinalProductAuthorization",
        "MedicinalProductContraindication",
        "MedicinalProductIndication",
        "MedicinalProductIngredient",
        "MedicinalProductInteraction",
        "MedicinalProductManufactured",
        "MedicinalProductPackaged",
        "MedicinalProductPharmaceutical",
        "MedicinalProductUndesirableEffect",
        "RiskEvidenceSynthesis",
        "SubstanceNucleicAcid",
        "SubstancePolymer",
        "SubstanceProtein",
        "SubstanceReferenceInformation",
        "SubstanceSourceMaterial",
        "SubstanceSpecification",
    }
)
"""Types of R4 that R4B took out: the models of R4B, by which resources are validated, do not have them."""

_R4B_ONLY = frozenset(
    {
        "AdministrableProductDefinition",
        "Citation",
        "ClinicalUseDefinition",
        "EvidenceReport",
        "Ingredient",
        "ManufacturedItemDefinition",
        "MedicinalProductDefinition",
        "NutritionProduct",
        "PackagedProductDefinition",
        "RegulatedAuthorization",
        "SubscriptionStatus",
        "SubscriptionTopic",
        "SubstanceDefinition",
    }
)
"""Types that R4B brought: Medplum, a server of R4, does not have them."""


@cache
def kept_types() -> tuple[str, ...]:
    """Every type of R4 that Medplum keeps and searches, in the order of their names: all but Binary."""
    return tuple(json.loads(TABLE.read_text(encoding="utf-8")))


@cache
def why_unfit(resource_type: str) -> tuple[str, str] | None:
    """(what is wrong with a type, what to do) where no mapping can produce it; None where one can."""
    if resource_type == _BINARY:
        return (
            "Medplum searches no Binary: one whose answer got lost could not be found again.",
            "Carry the bytes as the `data` of an attachment (DocumentReference, Media).",
        )
    if resource_type in _R4_ONLY:
        return (
            f"{resource_type} is of R4 and not of R4B, by whose models resources are validated: it could not be.",
            "Carry the content in a type that both have (Basic, Substance, Medication, Evidence).",
        )
    if resource_type in _R4B_ONLY:
        return f"{resource_type} is of R4B: Medplum, a server of R4, does not have it.", "Take a type of R4."
    if resource_type != _BUNDLE and not _is_kept(resource_type):
        return f"{resource_type} is no FHIR R4 resource that a server keeps.", "Correct the name in `produces`."
    return None


def _is_kept(resource_type: str) -> bool:
    try:
        model = get_fhir_model_class(resource_type)
    except ValueError:
        return False
    return issubclass(model, DomainResource) and resource_type not in _PASSING
