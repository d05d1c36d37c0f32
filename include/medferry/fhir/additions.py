"""What Medplum adds to a resource by itself: no content of the writer's, and nobody's change of it.

- Members of `meta`: version, time, author, project, compartments, and the accounts, which an AccessPolicy or
  ``$set-accounts`` sets and which say who may see a resource, not what is in it.
- The signed URL under which an attachment's ``Binary/<id>`` is given out; another at each reading.

`split` parts a stored resource so. A Bot may add more, as a version of its own; then `holds` tells whether the writer's
content is still there, beside whatever was added.
"""

from __future__ import annotations

import re
from typing import Any

Resource = dict[str, Any]

META = frozenset({"versionId", "lastUpdated", "author", "project", "compartment", "account", "accounts"})
"""Members of ``meta`` that Medplum, an AccessPolicy or ``$set-accounts`` sets."""
_OUTSIDE_FHIR = META - {"versionId", "lastUpdated"}

_ID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_SIGNED = re.compile(
    rf"(https?://[^?#]+?/)({_ID})(?:/{_ID})?\?(?:[^#]*&)?(?:Signature|sig|X-Amz-Signature|X-Goog-Signature)=\S+"
)
"""Base, id of the Binary; Medplum appends the id of its version."""
_NOT_ATTACHMENTS = frozenset({"extension", "modifierExtension"})
"""Elements whose `url` names their kind."""


def signed_binary(url: str) -> str | None:
    """The id of the Binary that a signed URL gives out; None for any other URL."""
    match = _SIGNED.fullmatch(url)
    return match[2] if match else None


def storages(value: Any, name: str = "") -> frozenset[str]:
    """The bases (all before the Binary's id) of the signed URLs of attachments in a stored element called `name`."""
    if isinstance(value, list):
        return frozenset().union(*(storages(item, name) for item in value))
    if not isinstance(value, dict):
        return frozenset()
    url = value.get("url")
    match = _SIGNED.fullmatch(url) if isinstance(url, str) and name not in _NOT_ATTACHMENTS else None
    return frozenset({match[1]} if match else ()).union(*(storages(item, key) for key, item in value.items()))


def unsigned(value: Any, name: str = "", own: frozenset[str] | None = None) -> Any:
    """A stored element called `name` with the signed URLs of its attachments as the ``Binary/<id>`` they stand for.

    `own` are the bases of Medplum's own storage; None: not asked, any is.
    """
    if isinstance(value, list):
        return [unsigned(item, name, own) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: unsigned(item, key, own) for key, item in value.items()}
    url = made.get("url")
    match = _SIGNED.fullmatch(url) if isinstance(url, str) and name not in _NOT_ATTACHMENTS else None
    if match and (own is None or match[1] in own):
        made["url"] = f"Binary/{match[2]}"
    return made


def without_meta(stored: Resource) -> Resource:
    """A stored resource without the members of `meta` that Medplum alone knows: FHIR's has no accounts, no author."""
    meta = stored.get("meta", {})
    if _OUTSIDE_FHIR.isdisjoint(meta):
        return stored
    return {**stored, "meta": {name: value for name, value in meta.items() if name not in _OUTSIDE_FHIR}}


def split(stored: Resource, own: frozenset[str] | None = None) -> tuple[Resource, Resource]:
    """(what a writer may have written, what Medplum itself added) of a stored resource; the latter only of `meta`.

    `own` as for `unsigned`.
    """
    meta = stored.get("meta", {})
    added = {name: value for name, value in meta.items() if name in META}
    kept = {name: value for name, value in meta.items() if name not in META}
    rest = {name: value for name, value in stored.items() if name not in ("id", "meta")}
    return unsigned({**rest, "meta": kept} if kept else rest, own=own), {"meta": added} if added else {}


def holds(stored: Any, sent: Any) -> bool:
    """Whether all of `sent` stands in `stored` as it was sent: each member, and each item in its order.

    What stands there besides (another member, another item) is an addition.
    """
    if isinstance(sent, dict):
        return isinstance(stored, dict) and all(name in stored and holds(stored[name], sent[name]) for name in sent)
    if isinstance(sent, list):
        if not isinstance(stored, list):
            return False
        rest = iter(stored)
        return all(any(holds(there, item) for there in rest) for item in sent)
    return isinstance(stored, bool) == isinstance(sent, bool) and bool(stored == sent)
