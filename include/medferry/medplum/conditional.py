"""A create that is none where something is there already: the server's own decision, which no replica answers."""

from __future__ import annotations

from typing import Any

import orjson

from medferry.medplum import budget as points
from medferry.medplum.binaries import Binaries
from medferry.medplum.errors import MedplumUnavailable
from medferry.medplum.form import is_id
from medferry.medplum.requests import json_or_empty


class Conditional(Binaries):
    """What a client does by `If-None-Exist`."""

    def create_unless(self, resource: dict[str, Any], query: str) -> dict[str, Any]:
        """The one resource of this type that `query` finds, else `resource` as it was created. Tried again as a read.

        Raises RequestRefused where several are found (412) or Medplum takes none, Unauthorised (403), TransientError.
        """
        kind = resource["resourceType"]
        headers = {"Content-Type": "application/fhir+json", "If-None-Exist": query}
        answer = self._read(
            "POST", f"fhir/R4/{kind}", points.CONDITIONAL_WRITE, content=orjson.dumps(resource), headers=headers
        )
        found = json_or_empty(answer)
        if found.get("resourceType") != kind or not is_id(found.get("id")):
            raise MedplumUnavailable("Medplum's answer to a create is no resource.", "Check what stands in between.")
        return found
