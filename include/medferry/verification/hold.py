"""The hold on a subject while it is verified: one process at a time, for as long as it lives."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.errors import LeaseLost, TransientError
from medferry.manifest import verifications
from medferry.manifest.checks import VerificationRequest

log = logging.getLogger(__name__)


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
    with manifest.begin() as connection:
        verifications.acquire(connection, hold.migration, hold.subject, hold.holder)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(manifest, hold, ended), daemon=True)
    renewing.start()
    try:
        yield hold
    finally:
        ended.set()
        renewing.join()
        with manifest.begin() as connection:
            verifications.release(connection, hold.holder)


def _renew(manifest: sa.Engine, hold: SubjectHold, ended: threading.Event) -> None:
    while not ended.wait(verifications.RENEW_SECONDS):
        try:
            with manifest.begin() as connection:
                hold.check(connection)
        except TransientError as error:
            log.warning("The hold on the verified subject was not renewed: %s", error.problem)
        except LeaseLost:
            return  # the next check tells it where it can be acted upon
