"""Documents that are too large for a resource's body: uploaded before the resource that refers to them is written."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from medferry.apply.plan import Failed, rejected
from medferry.apply.targets import ResolvedResource
from medferry.fhir.documents import media_types, with_binaries
from medferry.manifest import uploads
from medferry.manifest.crosswalk import Name
from medferry.manifest.runs import SliceRow
from medferry.manifest.uploads import Upload, UploadState
from medferry.mapping.outcomes import Reason
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import (
    MedplumUnavailable,
    NotReached,
    RequestRefused,
    RequestTooLarge,
    Throttled,
)
from medferry.medplum.limiter import BatchHealth, ConcurrencyLimiter
from medferry.runtime.hold import Hold

_TRIES = 3
"""Uploads of a document in a row without an answer; each may have left a Binary that nothing refers to."""

Known = Mapping[tuple[Name, str], Upload]


@dataclass(frozen=True, slots=True)
class DocumentUploader:
    """Uploads the documents of one slice's resources. Raises LeaseLost before it sends what is another's to send.

    What was uploaded for a resource is known by its name and the bytes' SHA-256, in whichever run: it is sent once.
    """

    hold: Hold
    slice: SliceRow
    client: MedplumClient
    limiter: ConcurrencyLimiter
    stay_alive: Callable[[], None]
    reads_again: bool = False
    """Whether what was proven is read once more: somebody may have put other bytes in its place."""
    sleep: Callable[[float], None] = time.sleep

    def placed(self, targets: Sequence[ResolvedResource]) -> tuple[list[ResolvedResource], dict[Name, Failed]]:
        """The targets with the addresses of their documents, and those of which a document was refused.

        Raises Unauthorised, MedplumUnavailable, StagingError.
        """
        wanted = {target.name: types for target in targets if (types := media_types(target.body))}
        if not wanted:
            return list(targets), {}
        known = self._known(wanted)
        ready: list[ResolvedResource] = []
        failed: dict[Name, Failed] = {}
        for target in targets:
            binaries: dict[str, str] = {}
            for digest, media_type in wanted.get(target.name, {}).items():
                end = self._binary_of(target.name, digest, media_type, known)
                if isinstance(end, Failed):
                    failed[target.name] = end
                    break
                binaries[digest] = end
            else:
                ready.append(_with(target, binaries))
        return ready, failed

    def _known(self, wanted: Mapping[Name, object]) -> Known:
        """What was uploaded before and is still there."""
        with self.hold.environment.manifest.begin() as connection:
            known = uploads.uploads_of(connection, self.hold.run.migration, wanted.keys())
        there = self.client.read_each([("Binary", each.medplum_id) for each in known.values()])
        return {at: each for at, each in known.items() if each.medplum_id in there}

    def _binary_of(self, name: Name, digest: str, media_type: str, known: Known) -> str | Failed:
        """The id of the Binary that has a document, proven by reading it back."""
        there = known.get((name, digest))
        if there is not None and self._is_replaced(there, digest):
            there = None
        found = there or self._uploaded(name, digest, media_type)
        if isinstance(found, Failed):
            return found
        if found.state is UploadState.PROVEN:
            return found.medplum_id
        is_whole = self.client.binary_digest(found.medplum_id) == digest
        self._tell(found.id, UploadState.PROVEN if is_whole else UploadState.REFUSED)
        place = f"Binary/{found.medplum_id}"
        return found.medplum_id if is_whole else rejected(Reason.STORED_DIFFERENTLY, place)

    def _is_replaced(self, found: Upload, digest: str) -> bool:
        """Whether a document that was proven has other bytes by now; asked only of who overwrites."""
        is_asked = self.reads_again and found.state is UploadState.PROVEN
        return is_asked and self.client.binary_digest(found.medplum_id) != digest

    def _uploaded(self, name: Name, digest: str, media_type: str) -> Upload | Failed:
        """Send a document, again where no answer came."""
        staging = self.hold.environment.staging(self.hold.run.id)
        size = staging.document_size(self.slice.id, digest)
        content = _Parts(lambda: staging.read_document(self.slice.id, digest))
        losses = 0
        while True:
            self.stay_alive()
            try:
                return self._sent(name, digest, content, size, media_type)
            except Throttled:
                continue  # the next attempt is paid for only when the quota is filled again
            except (RequestTooLarge, RequestRefused) as error:
                reason = Reason.TOO_LARGE if isinstance(error, RequestTooLarge) else Reason.SERVER_REJECTED
                return rejected(reason, f"a document of {size:,} bytes, uploaded as Binary")
            except MedplumUnavailable:
                losses += 1
                if losses == _TRIES:
                    raise
                self.sleep(2.0**losses)

    def _sent(self, name: Name, digest: str, content: Iterable[bytes], size: int, media_type: str) -> Upload:
        """Note a document and send it once. The note stays open when no answer came."""
        numbers: list[int] = []

        def note() -> None:
            with self.hold.writing() as connection:
                numbers.append(uploads.note(connection, self.hold.run.migration, self.slice, name, digest))

        health = BatchHealth.FAILING
        with self.limiter.slot():
            try:
                medplum_id = self.client.upload(content, size, media_type, note)
                health = BatchHealth.WELL
            except (NotReached, Throttled, RequestTooLarge, RequestRefused) as error:
                health = BatchHealth.FAILING if isinstance(error, NotReached) else BatchHealth.WELL
                for number in numbers:
                    self._tell(number, UploadState.REFUSED)
                raise
            finally:
                self.limiter.finished(health)
        self._tell(numbers[-1], UploadState.STORED, medplum_id)
        return Upload(numbers[-1], medplum_id, UploadState.STORED)

    def _tell(self, note: int, state: UploadState, medplum_id: str = "") -> None:
        with self.hold.writing() as connection:
            uploads.tell(connection, note, state, medplum_id)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a staged document, from its beginning each time."""

    parts: Callable[[], Iterable[bytes]]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts())


def _with(target: ResolvedResource, binaries: Mapping[str, str]) -> ResolvedResource:
    if not binaries:
        return target
    body = with_binaries(target.body, binaries)
    return replace(target, body=body, hash=hashlib.sha256(body).hexdigest())
