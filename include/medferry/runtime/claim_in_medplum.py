"""A claim as Medplum has it: found, read, changed. What it is for is told in ``claim.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from medferry.fhir.identifiers import names_of
from medferry.fhir.references import system_token
from medferry.mapping.identity import CLAIM_SYSTEM, MANIFEST_SYSTEM, MARK_SYSTEM
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import RequestRefused, Unauthorised
from medferry.medplum.waits import WaitFor

TYPE = "Basic"
_FIRST_POLL, _LONGEST_POLL = 0.05, 2.0
_LONGEST_LAG = 60.0
"""Seconds; a claim that is not read for so long is hidden from this client."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as Medplum has it: `manifest` is whose it is, `mark` of which copy, `text` what it says of itself."""

    id: str
    version: str
    manifest: str
    mark: str
    text: str
    since: str

    def __str__(self) -> str:
        return f"the manifest {self.manifest or 'of no name'} ({self.text}, {self.since[:10]})"


def as_claim(resource: dict[str, Any]) -> Claim:
    meta, code, names = resource.get("meta", {}), resource.get("code", {}), dict(names_of(resource))
    text = str(code.get("text", "") if isinstance(code, dict) else "")
    manifest, mark = names.get(MANIFEST_SYSTEM, ""), names.get(MARK_SYSTEM, "")
    return Claim(resource["id"], meta.get("versionId", ""), manifest, mark, text, meta.get("lastUpdated", ""))


def read_claims(client: MedplumClient, *ids: str) -> list[Claim]:
    return [as_claim(orjson.loads(text)) for _, text in client.read_each([(TYPE, one) for one in ids]).values()]


def named(base: str) -> list[tuple[str, str]]:
    return [("identifier", system_token(CLAIM_SYSTEM, base))]


def found_claims(client: MedplumClient, base: str) -> list[Claim]:
    """The claims on an identifier base that this client may search for, as they are now: a search may lag."""
    try:
        page = client.search(TYPE, named(base))
    except (Unauthorised, RequestRefused):
        return []
    return read_claims(client, *(entry["resource"]["id"] for entry in page.get("entry", [])))


def shows(client: MedplumClient, claim_id: str, seconds: float) -> bool:
    """Whether a claim can be read by its id, at the latest after the longest lag."""
    started, poll = client.waits.clock(), _FIRST_POLL
    while not read_claims(client, claim_id):
        if client.waits.clock() - started > min(seconds, _LONGEST_LAG):
            return False
        client.waits.sleep(WaitFor.ANSWER, poll)
        poll = min(2 * poll, _LONGEST_POLL)
    return True


def changed(claim: Claim, ours: dict[str, Any] | None) -> dict[str, Any]:
    """An entry of a batch that makes a claim ours, or removes it."""
    request = {"url": f"{TYPE}/{claim.id}", "ifMatch": f'W/"{claim.version}"'}
    if ours is None:
        return {"request": {"method": "DELETE", **request}}
    return {"resource": ours | {"id": claim.id}, "request": {"method": "PUT", **request}}
