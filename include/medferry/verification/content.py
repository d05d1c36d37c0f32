"""Stored content: Medplum returns what the manifest says was written, in the version that was written.

A later version with that very content is nobody's change: its accounts were set, or a change was put back. Medplum must
have the version that was written, then, with that content. That version also tells where Medplum keeps its documents:
a signed URL that leads elsewhere is another's, whatever id it names.

The hash is reckoned by the verification's own canonical form, so that a fault of the loader's is no fault here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import orjson

from medferry.errors import MedferryError
from medferry.medplum.client import MedplumClient
from medferry.medplum.form import is_id
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder

Items = list[tuple[WrittenResource, dict[str, Any]]]

CONTENT, VERSIONS = "content: as written", "versions: changed since the load"

_LARGEST_INTEGER = 2.0**63
"""Beyond it, numbers stay doubles: JSON libraries print no larger integers."""
_SERVERS_OWN = ("versionId", "lastUpdated", "author", "project", "compartment", "account", "accounts")
_SIGNED = re.compile(
    r"(https?://[^?#]+?/)([0-9a-fA-F-]{36})(?:/[0-9a-fA-F-]{36})?\?(?:[^#]*&)?(?:[A-Za-z]+-)*(?:Signature|sig)=[^#]+"
)


def examine(
    items: Items, client: MedplumClient, recorder: CheckRecorder, mark: Callable[[str], str] = lambda hash_: hash_
) -> None:
    """Judge resources of one type as they were read, each beside what the manifest says of it.

    `mark` is told of a content instead of its hash, which could be tried.
    """
    later: Items = []
    for written, resource in items:
        version, found = resource.get("meta", {}).get("versionId"), digest(resource)
        if found == written.content_hash:
            recorder.equal(CONTENT)
        else:  # version and hash, so that who accepts this difference accepts no later one
            told = f"{written.slot} {mark(found)[:16]}"
            recorder.different(CONTENT, written.key, told, "other content", written.place)
        if version == written.version_id:
            recorder.equal(VERSIONS)
        elif found == written.content_hash:
            later.append((written, resource))
        else:
            _tell_version(written, resource, recorder)
    _examine_later(later, client, recorder)


def _examine_later(items: Items, client: MedplumClient, recorder: CheckRecorder) -> None:
    """Those with the content that was written, in another version: is there the one that was?"""
    names = [(one.type, f"{one.medplum_id}/_history/{one.version_id}") for one, _ in items]
    try:
        there = client.read_each(names)
    except MedferryError as error:
        recorder.unchecked(VERSIONS, len(items), error.problem, *(written.key for written, _ in items))
        return
    for (written, resource), (_, name) in zip(items, names, strict=True):
        version, text = there.get(name, ("", b"{}"))
        ours = orjson.loads(text)
        if version == written.version_id and digest(ours) == written.content_hash:
            recorder.equal(VERSIONS)
            if _storages(resource) - _storages(ours):  # Medplum signs both with the same base
                recorder.different(CONTENT, written.key, f"{written.slot} attachment", "other storage", written.place)
        else:
            _tell_version(written, resource, recorder)


def _tell_version(written: WrittenResource, resource: dict[str, Any], recorder: CheckRecorder) -> None:
    version = resource.get("meta", {}).get("versionId")
    recorder.different(VERSIONS, written.key, f"meta.versionId {version}", "other version", written.place)


def digest(resource: dict[str, Any]) -> str:
    """SHA-256 (hex) of all that the writer of a resource owns: not its id, not the server's part of `meta`.

    Members in the order of their names; numbers as the doubles that Medplum keeps, whole ones without a fraction; the
    signed URL of a Binary as the reference that it stands for.
    """
    meta = {name: item for name, item in resource.get("meta", {}).items() if name not in _SERVERS_OWN}
    own = {name: item for name, item in resource.items() if name not in ("id", "meta")}
    if meta:
        own["meta"] = meta
    return hashlib.sha256(orjson.dumps(_canonical(own), option=orjson.OPT_SORT_KEYS)).hexdigest()


def binary_id(url: str) -> str | None:
    """The id of the Binary that an attachment's URL stands for, signed or not; None for another URL."""
    if url.startswith("Binary/"):
        return id_ if is_id(id_ := url.removeprefix("Binary/")) else None
    match = _SIGNED.fullmatch(url)
    return match[2] if match else None


def _storages(value: Any, parent: str = "") -> set[str]:
    """What stands before the Binary's id in the signed URLs of attachments."""
    found: set[str] = set()
    if isinstance(value, list):
        found.update(*(_storages(item, parent) for item in value))
    elif isinstance(value, dict):
        url = value.get("url")
        if isinstance(url, str) and parent not in ("extension", "modifierExtension") and (m := _SIGNED.fullmatch(url)):
            found.add(m[1])
        found.update(*(_storages(item, name) for name, item in value.items()))
    return found


def _canonical(value: Any, parent: str = "") -> Any:
    match value:
        case dict():
            url = _canonical if parent in ("extension", "modifierExtension") else _url
            return {name: url(item) if name == "url" else _canonical(item, name) for name, item in value.items()}
        case list():
            return [_canonical(item, parent) for item in value]
        case float() if abs(value) < _LARGEST_INTEGER and value == int(value):
            return int(value)
        case _:
            return value


def _url(value: Any) -> Any:
    found = binary_id(value) if isinstance(value, str) else None
    return f"Binary/{found}" if found else _canonical(value)
