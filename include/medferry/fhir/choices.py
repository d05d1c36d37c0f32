"""Members that may be one type of a choice (``value[x]``), known by their names alone."""

from __future__ import annotations

import re

_CHOICE = re.compile(
    r"([a-z]\w*?)(Base64Binary|Boolean|Canonical|Code|Date|DateTime|Decimal|Id|Instant|Integer|Markdown|Oid|PositiveInt"
    r"|String|Time|UnsignedInt|Uri|Url|Uuid|Address|Age|Annotation|Attachment|CodeableConcept|CodeableReference|Coding"
    r"|ContactDetail|ContactPoint|Contributor|Count|DataRequirement|Distance|Dosage|Duration|Expression|HumanName"
    r"|Identifier|Meta|Money|ParameterDefinition|Period|Quantity|Range|Ratio|RatioRange|Reference|RelatedArtifact"
    r"|SampledData|Signature|Timing|TriggerDefinition|UsageContext)"
)


def choice_of(name: str) -> str | None:
    """``deceased[x]`` for deceasedDateTime: the choice that a member may be a type of; a resource has one of them."""
    match = _CHOICE.fullmatch(name)
    return f"{match[1]}[x]" if match else None
