"""Documents: behind every attachment that refers to a Binary are the bytes that were uploaded for it.

The hash of a resource covers the Binary's address and none of its bytes, which another client can replace or delete
with no new version of the resource. So each Binary is read, in parts, and its SHA-256 compared with the ledger's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from medferry.errors import MedferryError
from medferry.manifest.uploads import digests_of
from medferry.medplum.client import MedplumClient
from medferry.verification.content import Items, binary_id
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

UPLOADED_BYTES, OTHERS_THERE = "documents: bytes as uploaded", "documents: not uploaded by Medferry, there"

_NOT_ATTACHMENTS = frozenset({"extension", "modifierExtension"})
"""Elements whose `url` names their kind."""
_PATIENCE = 3
"""Binaries in a row that Medplum does not give before the rest counts as not checked, without asking."""


@dataclass
class Documents:
    """The documents of one entity's resources."""

    scope: VerificationScope
    client: MedplumClient
    unanswered: int = 0
    uncompared: int = 0
    read: dict[str, str | None] = field(default_factory=dict)
    """Binary → SHA-256 of what was read of it for the resources at hand; None when there is none of that id."""

    def examine(self, items: Items, known: dict[str, str], recorder: CheckRecorder) -> None:
        """Judge the attachments of some resources. `known` has the SHA-256 of Binaries that a check has just read."""
        held = [(written, path, id_) for written, resource in items for path, id_ in attached(resource)]
        if not held:
            return
        names = {(written.system, written.key) for written, _, _ in held}
        with self.scope.environment.manifest.begin() as connection:
            sent = digests_of(connection, self.scope.migration.name, names)
        self.read = dict(known)
        for written, path, id_ in held:
            expected = sent.get(((written.system, written.key), id_))
            self.uncompared += expected is None and id_ not in known
            self._judge(written, path, id_, expected, recorder)

    def finish(self, recorder: CheckRecorder) -> None:
        """Tell of what no bytes were compared."""
        if self.uncompared:
            recorder.expect(OTHERS_THERE, f"Of {self.uncompared:,} the bytes were compared with nothing.")

    def _judge(
        self, written: WrittenResource, path: str, id_: str, expected: str | None, recorder: CheckRecorder
    ) -> None:
        name = OTHERS_THERE if expected is None else UPLOADED_BYTES
        try:
            found = self._digest(id_)
        except MedferryError as error:
            self.unanswered += 1
            recorder.unchecked(name, 1, error.problem, written.key)
            return
        self.unanswered = 0
        kind = "missing" if found is None else "other bytes" if expected not in (None, found) else None
        # A part of the hash, so that who accepts this difference accepts no later one.
        place = path if found is None or kind is None else f"{path} {found[:16]}"
        recorder.judge(name, written.key, place, kind, f"Binary/{id_}")

    def _digest(self, id_: str) -> str | None:
        if id_ not in self.read:
            if self.unanswered >= _PATIENCE:
                raise MedferryError("Medplum did not give a document several times in a row.")
            self.read[id_] = self.client.binary_digest(id_)
        return self.read[id_]


def attached(value: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    """(path, id of the Binary) of each attachment inside an element called `name` that refers to one."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from attached(item, f"{path}[{number}]", name)
    elif isinstance(value, dict):
        url = value.get("url")
        if isinstance(url, str) and name not in _NOT_ATTACHMENTS and (id_ := binary_id(url)):
            yield path, id_
        for key, item in value.items():
            yield from attached(item, f"{path}.{key}" if path else key, key)
