"""The Bundles that the client sends, and the error for an answer that is none."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import orjson

from medferry.medplum.errors import MedplumUnavailable

_GZIP_FROM_BYTES = 2_048

EXTENDED = {"X-Medplum": "extended"}


def batch_body(entries: Sequence[dict[str, Any]], extended: bool) -> tuple[bytes, dict[str, str]]:
    """A batch Bundle as a request's content, with its headers."""
    body = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": list(entries)})
    headers = {"Content-Type": "application/fhir+json"} | (EXTENDED if extended else {})
    if len(body) >= _GZIP_FROM_BYTES:
        body, headers["Content-Encoding"] = gzip.compress(body, compresslevel=1), "gzip"
    return body, headers


def no_bundle() -> MedplumUnavailable:
    """To take such an answer for "nothing found" would create what is there already."""
    return MedplumUnavailable("Medplum's answer to a search is no Bundle.", "Check what stands in between.")
