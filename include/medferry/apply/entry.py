"""A step as an entry of a batch Bundle, and as a line of the note that is made before it is sent."""

from __future__ import annotations

from typing import Any

import orjson

from medferry.apply.plan import Step
from medferry.fhir.bundle import by_name
from medferry.manifest.crosswalk import Action
from medferry.manifest.sent_batches import SentEntry

_ENVELOPE_BYTES = 300
"""More than an entry's request with the longest names takes."""


def weight(step: Step) -> int:
    """Bytes of a step's entry; one too large for any batch goes alone, and is for the server to judge."""
    return len(step.target.body) + _ENVELOPE_BYTES


def batch_entry(step: Step, conditional: bool) -> dict[str, Any]:
    """The batch entry; a `conditional` create finds what carries its identifier already (``ifNoneExist``)."""
    target = step.target
    if step.action is Action.CREATE:
        condition = {"ifNoneExist": by_name(target.name)} if conditional else {}
        request = {"method": "POST", "url": target.type, **condition}
        return {"resource": orjson.Fragment(target.body), "request": request}
    return {
        "resource": orjson.Fragment(b'{"id":"%s",%s' % (step.id.encode(), target.body[1:])),
        "request": {"method": "PUT", "url": f"{target.type}/{step.id}", "ifMatch": f'W/"{step.version}"'},
    }


def sent_entry(step: Step) -> SentEntry:
    """What is noted of a step."""
    target = step.target
    return SentEntry(*target.name, step.action, target.type, target.hash, step.id, step.version)
