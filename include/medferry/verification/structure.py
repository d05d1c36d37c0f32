"""Structure: a seeded sample of the resources as Medplum has them, validated again.

Each is sent to ``$validate``, which checks the base definition and the profiles that its ``meta.profile`` claims, and
is put to the ecosystem's own models (fhir.resources), which see what Medplum does not: 30 February, two ``value[x]``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from medferry.errors import MedferryError
from medferry.medplum.client import MedplumClient
from medferry.verification.options import Sampling, error_bound
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder

SERVER, MODELS = "structure: $validate", "structure: FHIR R4 models"

_AT_MOST = 300
"""About so many of an entity: without a fault among them, at most 1 % of all have one (95 % confidence)."""
_SHARE = 0.04
"""Of the resources, so that at 20 points each this is 0.8 points a resource, under 1 % of what its load has cost."""

_PATIENCE = 3
"""Requests in a row without a verdict before the rest counts as not checked, without asking."""


@dataclass
class Structure:
    """Validates some of one entity's `expected` resources, by a hash of seed and id: the first, and a share of all."""

    client: MedplumClient
    choice: Sampling
    expected: int
    done: int = 0
    seen: int = 0
    unanswered: int = 0

    def examine(self, items: list[tuple[WrittenResource, dict[str, Any]]], recorder: CheckRecorder) -> None:
        for written, resource in items:
            self.seen += 1
            if not (self.seen == 1 or self._takes(written)):
                continue
            self.done += 1
            recorder.judge(MODELS, written.key, written.slot, model_fault(resource), written.place)
            try:
                if self.unanswered >= _PATIENCE:
                    raise MedferryError("$validate gave no verdict several times in a row.")
                issue = self.client.validate(resource)
            except MedferryError as error:
                self.unanswered += 1
                recorder.unchecked(SERVER, 1, error.problem, written.key)
                continue
            self.unanswered = 0
            recorder.judge(SERVER, written.key, issue or written.slot, "invalid" if issue else None, written.place)

    def finish(self, recorder: CheckRecorder) -> None:
        for name in (SERVER, MODELS):
            recorder.expect(name, error_bound(self.done, self.choice.seed) if self.done < self.seen else "")

    def _takes(self, written: WrittenResource) -> bool:
        share = 1.0 if self.choice.validate_all else min(_SHARE, _AT_MOST / max(self.expected, 1))
        digest = hashlib.sha256(f"{self.choice.seed}/{written.place}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64


def model_fault(resource: dict[str, Any]) -> str | None:
    """The kind of the first fault that the models find, or None."""
    try:
        get_fhir_model_class(str(resource.get("resourceType"))).model_validate(resource)
    except ValidationError as error:
        return str(error.errors(include_url=False, include_context=False, include_input=False)[0]["type"])[:40]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return type(error).__name__
    return None
