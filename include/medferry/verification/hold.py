"""The hold on a subject while it is verified: one process at a time, for as long as it lives."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest import verifications
from medferry.manifest.checks import VerificationRequest
from medferry.manifest.slice_lock import SliceBusy, only_worker
from medferry.manifest.verifications import VerificationAtWork


@dataclass(frozen=True, slots=True)
class SubjectHold:
    """To be checked in every transaction that records something of the verification."""

    migration: str
    subject: str
    holder: str

    def check(self, connection: sa.Connection) -> None:
        """Renew the hold. Raises LeaseLost when another process verifies the subject now."""
        verifications.renew(connection, self.migration, self.subject, self.holder)


@contextmanager
def holding(manifest: sa.Engine, request: VerificationRequest) -> Iterator[SubjectHold]:
    """Hold what a verification is of. Raises VerificationAtWork while another process has it."""
    subject = request.run_id or json.dumps(request.subject.as_json(), sort_keys=True)
    hold = SubjectHold(request.migration, subject, f"verification-{uuid.uuid4()}")
    with _alone(manifest, hold):
        with manifest.begin() as connection:
            verifications.acquire(connection, hold.migration, hold.subject, hold.holder)
        try:
            yield hold
        finally:
            with manifest.begin() as connection:
                verifications.release(connection, hold.holder)


@contextmanager
def _alone(manifest: sa.Engine, hold: SubjectHold) -> Iterator[None]:
    """A lock that ends with its process, so that a killed verification keeps nobody waiting."""
    with ExitStack() as stack:
        try:
            stack.enter_context(only_worker(manifest, hold.migration, f"verification of {hold.subject}"))
        except SliceBusy:
            raise VerificationAtWork(
                "This subject is being verified by another process.",
                "Wait until it has ended, or end it; one that has died blocks nobody.",
            ) from None
        yield
