"""Binaries: bytes that are uploaded and read back as they are, in parts, so that none is held in memory as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import httpx

from medferry.medplum import budget as points
from medferry.medplum.errors import AnswerUnfit, MedplumUnavailable, NotFound
from medferry.medplum.form import MOST_BYTES_OF_A_BINARY, in_parts, is_id
from medferry.medplum.requests import Requests, json_or_empty


class Binaries(Requests):
    """What a client does with a Binary, beside what it does with any resource."""

    def upload(
        self, content: Iterable[bytes], size: int, media_type: str, before: Callable[[], None] | None = None
    ) -> str:
        """Create a Binary of `size` bytes; returns its id. Not retried: who calls must know what became of it.

        `content` can be walked more than once (a token may have to be renewed). `before` is called when it is paid for,
        right before it is sent; what it raises keeps it from being sent. Raises MedplumUnavailable when no
        trustworthy answer came: it may have been stored.
        """
        headers = {"Content-Type": media_type, "Content-Length": str(size)}
        answer = self._send("POST", "fhir/R4/Binary", points.WRITE, before=before, content=content, headers=headers)
        made = json_or_empty(answer)
        if made.get("resourceType") != "Binary" or not is_id(made.get("id")):
            raise MedplumUnavailable("Medplum's answer to an upload is no Binary.", "Check what stands in between.")
        return str(made["id"])

    def binary(self, medplum_id: str) -> bytes | None:
        """The bytes of a Binary; None when there is none of that id."""
        content = b""

        def consume(answer: httpx.Response) -> None:
            nonlocal content
            content = b"".join(in_parts(answer, MOST_BYTES_OF_A_BINARY >> 3, float("inf")))

        try:
            self._read("GET", _place(medplum_id), points.READ, headers={"Accept": "*/*"}, consume=consume)
        except NotFound:
            return None
        return content

    def binary_digest(self, medplum_id: str) -> str | None:
        """The SHA-256 (hexadecimal) of a Binary's bytes, read in parts; None when there is none of that id."""
        digest = hashlib.sha256()

        def consume(answer: httpx.Response) -> None:
            nonlocal digest
            digest = hashlib.sha256()
            for part in in_parts(answer, MOST_BYTES_OF_A_BINARY, float("inf")):
                digest.update(part)

        try:
            self._read("GET", _place(medplum_id), points.READ, headers={"Accept": "*/*"}, consume=consume)
        except NotFound:
            return None
        return digest.hexdigest()


def _place(medplum_id: str) -> str:
    """Raises AnswerUnfit for an id that would lead elsewhere."""
    if not is_id(medplum_id):
        raise AnswerUnfit("The id of a Binary is none.", "Look at who has written the attachment.")
    return f"fhir/R4/Binary/{medplum_id}"
