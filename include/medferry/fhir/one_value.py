"""Which elements are one value: of two versions of them one stands as a whole, and no part of the other.

``6 g`` of one side's 6 and the other's g is a dose that nobody wrote. By FHIR R4's definitions
(https://hl7.org/fhir/R4/datatypes.html, the types as in the models that resources are validated by), not by the names
of members: each data type is one value, but for those whose members say something by themselves (`BY_MEMBER`). A
resource's own structures go by member, but for `STRUCTURES`.

A `display` is no part of what is said: it says again, to readers, what the code or reference beside it says. So it goes
with that one, whoever gave it (`with_wording`). Nor does it say something else to leave out what a mapping completes
(`leaves_open`).
"""

from __future__ import annotations

from typing import Any

from medferry.fhir.elements import type_of
from medferry.fhir.merging import ElementKey, Path

BY_MEMBER = frozenset({"ContactPoint", "HumanName", "Meta"})
"""A name's family and given, a phone's number and rank are corrected one by one. The element of a list of contact
points has its system in its key; where one stands alone, system and value are one value, and it is, too."""

DATA_TYPES = frozenset(
    {
        *("Address", "Age", "Annotation", "Attachment", "CodeableConcept", "CodeableReference", "Coding"),
        *("ContactDetail", "Contributor", "Count", "DataRequirement", "Distance", "Dosage", "Duration"),
        *("ElementDefinition", "Expression", "Extension", "FHIRPrimitiveExtension", "Identifier", "MarketingStatus"),
        *("Money", "Narrative", "ParameterDefinition", "Period", "Population", "ProdCharacteristic"),
        *("ProductShelfLife", "Quantity", "Range", "Ratio", "RatioRange", "Reference", "RelatedArtifact"),
        *("SampledData", "Signature", "Timing", "TriggerDefinition", "UsageContext"),
    }
)
"""A SimpleQuantity is a Quantity there."""

STRUCTURES = frozenset({"LocationPosition", "MedicationAdministrationDosage", "MedicationBatch"})
"""Of resources: longitude and latitude; a dose, its route and its text; a lot and its expiry."""

_UNKNOWN = ""
"""A primitive, or what the models do not know: not to be taken apart."""

_SAYS_WHAT = {"CodeableConcept": ("coding",), "Reference": ("reference", "identifier")}
"""Type → the members of which one has to be left for the value to say what it said."""


class TwoWordings(Exception):
    """Both sides have changed one display, each otherwise."""


def is_one_value(resource_type: str, path: Path) -> bool:
    """Whether what stands at a path of a resource is one value, if it is an object."""
    kind = _type(resource_type, path)
    if kind == "ContactPoint":
        return not isinstance(path[-1], ElementKey)
    return kind == _UNKNOWN or kind in DATA_TYPES or kind in STRUCTURES


def whole(resource_type: str, path: Path) -> Path:
    """The path of the one value that a path leads into; else the path itself."""
    for end in range(1, len(path)):
        if not isinstance(path[end], ElementKey) and is_one_value(resource_type, path[:end]):
            return path[:end]
    return path


def meaning(value: Any) -> Any:
    """What a value says, without displays."""
    if isinstance(value, list):
        return [meaning(item) for item in value]
    if isinstance(value, dict):
        return {name: meaning(member) for name, member in value.items() if name != "display"}
    return value


def _says_no_more(resource_type: str, path: Path, value: Any, than: Any) -> bool:
    says = _SAYS_WHAT.get(_type(resource_type, path), ())
    return isinstance(than, dict) and any(value.get(name) for name in says) and _within(meaning(value), meaning(than))


def leaves_open(resource_type: str, path: Path, base: Any, ours: Any, theirs: Any) -> bool:
    """Whether theirs says what ours or the base does, and only leaves out a text, a type, codings.

    A coding that they took away and ours still has was not left open: it would come back.
    """
    back = [one for one in _codings(ours) if one in _codings(base) and one not in _codings(theirs)]
    return not back and any(_says_no_more(resource_type, path, theirs, than) for than in (ours, base))


def with_wording(base: Any, value: Any, other: Any) -> Any:
    """`value` with the displays of `other` for what both of them say, as far as these were changed since `base`.

    Raises TwoWordings.
    """
    if isinstance(value, list):
        return [with_wording(_same(item, base), item, _same(item, other)) for item in value]
    if not (isinstance(value, dict) and isinstance(other, dict)):
        return value
    was = base if isinstance(base, dict) else {}
    worded = {
        name: member if name == "display" else with_wording(was.get(name), member, other.get(name))
        for name, member in value.items()
    }
    says = meaning(value)
    if meaning(other) != says:
        return worded
    display = _display(was.get("display") if meaning(was) == says else None, value.get("display"), other.get("display"))
    return {**worded, "display": display} if display is not None else _without_display(worded)


def _type(resource_type: str, path: Path) -> str:
    return type_of(resource_type, tuple(step for step in path if isinstance(step, str)))


def _codings(concept: Any) -> list[Any]:
    return meaning(concept.get("coding") or []) if isinstance(concept, dict) else []


def _within(part: Any, all_: Any) -> bool:
    """Whether each member, and each item of a list, is one of the other's."""
    if isinstance(part, dict) and isinstance(all_, dict):
        return all(name in all_ and _within(member, all_[name]) for name, member in part.items())
    if isinstance(part, list) and isinstance(all_, list):
        return all(item in all_ for item in part)
    return bool(part == all_)


def _same(item: Any, items: Any) -> Any:
    """The item of a list that says the same."""
    return next((one for one in items if meaning(one) == meaning(item)), None) if isinstance(items, list) else None


def _display(base: Any, one: Any, other: Any) -> Any:
    if one == other or other == base:
        return one
    if one == base:
        return other
    raise TwoWordings


def _without_display(value: dict[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in value.items() if name != "display"}
