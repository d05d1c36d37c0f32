"""What can go wrong with Medplum, by type. Only ``TransientError`` and its children are worth a retry."""

from __future__ import annotations

from medferry.errors import MedferryError, TransientError


class Throttled(TransientError):
    """The quota is used up. `seconds` until it is filled again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"Medplum's quota is used up for {seconds:.0f} s.", "Nothing: the load waits by itself.")


class MedplumUnavailable(TransientError):
    """No answer, a cut connection or a 5xx. What was sent may or may not have been done."""


class RequestFailed(MedplumUnavailable):
    """Medplum itself says that it failed with a request. It has come to its end: nothing of it arrives later."""


class NotReached(MedplumUnavailable):
    """No connection was made: nothing was sent, so nothing was done."""


class AnswerUnfit(MedplumUnavailable):
    """What answered is too long, too deep or of another form than Medplum's: nothing of it is taken over."""


class CertificateRefused(NotReached):
    """One side does not trust the other's certificate: nothing was sent, and trying again does not help."""


class Unauthorised(MedferryError):
    """Medplum refuses the credentials."""


class RequestTooLarge(MedferryError):
    """The body is beyond the server's limit."""


class RequestRefused(MedferryError):
    """Medplum refused a whole request with a 4xx that trying again will not change.

    `verdict`: what it found wrong with the resource that was sent, as "code at path"; empty when it is not about that.
    """

    def __init__(self, problem: str, remedy: str = "", verdict: str = "") -> None:
        self.verdict = verdict
        super().__init__(problem, remedy)


class NotFound(RequestRefused):
    """There is nothing under the address: it never was, or it was deleted."""


class NoVerdict(MedferryError):
    """What answered says nothing of what was asked: neither that it is so nor that it is not."""
