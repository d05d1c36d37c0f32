"""One request to Medplum: paid for, authorised, repeated where that is safe, and every failure turned into its type.

No message of its errors quotes a body or a query: both hold patient data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    wait_random_exponential,
)

from medferry.errors import TransientError
from medferry.medplum import budget as points
from medferry.medplum.answers import read_json
from medferry.medplum.budget import Budget
from medferry.medplum.errors import (
    AnswerUnfit,
    CertificateRefused,
    MedplumUnavailable,
    NotFound,
    NotReached,
    RequestFailed,
    RequestRefused,
    RequestTooLarge,
    Throttled,
    Unauthorised,
)
from medferry.medplum.form import read_whole
from medferry.medplum.http import HttpSettings, open_http
from medferry.medplum.oauth import SharedToken, TokenSource
from medferry.medplum.outcome import issue_text, throttled_seconds, verdict_of
from medferry.medplum.server_clock import ServerClock
from medferry.medplum.sockets import Sockets
from medferry.medplum.trust import certificate_refused
from medferry.medplum.waits import WaitFor, Waits

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_NOBODY = "fhir/R4/Patient/00000000-0000-4000-8000-000000000000"
"""The address of a resource that there is not."""

_NO_USE = (Throttled, CertificateRefused, AnswerUnfit)
"""Another attempt by itself does not help: the budget waits, or a person has to act."""

_READ_ATTEMPTS = 6
_RESTART_SECONDS = 60.0
"""A server that has answered before is waited for so long, however often it is asked: it may be restarting."""

_TOKEN_RENEWALS = 10
"""A token may be revoked again before it is used, by whoever renews in another lane."""


class Requests:
    """What every request of a client has in common. `base_url` is the server's root ("http://host:8103/").

    `token` is shared with other clients of the same server, client id and secret; without it, one of its own.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        budget: Budget | None = None,
        http: HttpSettings | None = None,
        waits: Waits | None = None,
        token: SharedToken | None = None,
    ) -> None:
        self.waits = waits or Waits()
        self.budget = budget or Budget()
        self.budget.look = self._look_at_quota
        self._http = open_http(base_url, http or HttpSettings())
        # Compressing a page of answers costs the server more than looking it up; ours to it are compressed.
        self._http.headers["Accept-Encoding"] = "identity"
        self._sockets, self.server_clock = Sockets(), ServerClock()
        self._http.event_hooks = {"request": [self._sockets.watch], "response": [self.server_clock.learn]}
        self._tokens = TokenSource(self._http, client_id, client_secret, token)
        self.sent = 0
        """Requests that reached a server, repeated ones too; `failed` of them were cut off or got a 5xx."""
        self.failed = 0
        self._answered_at: float | None = None

    def interrupt(self) -> None:
        """Cut off what is under way, in whatever thread: it ends as a request that got no answer."""
        self._sockets.shut_down()

    def close(self) -> None:
        self._http.close()

    def _read(
        self, method: str, path: str, cost: int, trusted: Callable[[httpx.Response], Any] | None = None, **request: Any
    ) -> httpx.Response:
        """Send until answered. Being throttled is waited out and is no failed attempt, however often it happens.

        `trusted` raises a TransientError for an answer that is none.
        """
        waits_until = (self._answered_at or -_RESTART_SECONDS) + _RESTART_SECONDS

        def send() -> httpx.Response:
            answer = self._send(method, path, cost, **request)
            if trusted is not None:
                trusted(answer)
            self._answered_at = time.monotonic()
            return answer

        def gives_up(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            may_restart = isinstance(error, MedplumUnavailable) and not isinstance(error, RequestFailed)
            return state.attempt_number >= _READ_ATTEMPTS and not (may_restart and time.monotonic() < waits_until)

        failing_since: list[float] = []

        def pause(seconds: float) -> None:
            if not failing_since:
                failing_since.append(self.waits.clock())
            self.waits.sleep(WaitFor.RECOVERY, seconds, failing_since[0])

        retrying = Retrying(
            retry=retry_if_exception_type(TransientError) & retry_if_not_exception_type(_NO_USE),
            stop=gives_up,
            wait=wait_random_exponential(multiplier=0.2, max=10),
            sleep=pause,
            reraise=True,
        )
        while True:
            try:
                return retrying(send)
            except Throttled:
                continue  # the budget knows for how long, and the next attempt pays only then

    def _send(self, method: str, path: str, cost: int, **request: Any) -> httpx.Response:
        self.budget.pay(cost)
        return self._deliver(method, path, **request)

    def is_there(self, resource_type: str, medplum_id: str) -> bool:
        """Whether a resource can be read by a request of its own, which no replica answers. Raises Unauthorised."""
        try:
            self._read("GET", f"fhir/R4/{resource_type}/{medplum_id}", points.READ)
        except NotFound:
            return False
        return True

    def _look_at_quota(self) -> None:
        """The smallest request there is, paid for by the budget: its answer's headers tell what is left."""
        with suppress(NotFound, Unauthorised):
            self._deliver("GET", _NOBODY)

    def _deliver(
        self,
        method: str,
        path: str,
        before: Callable[[], None] | None = None,
        departing: Callable[[], None] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Send, refresh a refused token, and turn every failure into its type.

        `before` is called once; `departing` right before each time that it is handed to HTTP. Both may raise.
        """
        headers = request.pop("headers", {})
        if isinstance(request.get("data"), list):
            request["content"] = str(httpx.QueryParams(request.pop("data"))).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        token = self._token()
        if before is not None:
            before()
        answer = self._exchange(method, path, token, headers, request, departing)
        for _ in range(_TOKEN_RENEWALS):
            if answer.status_code != 401:
                break
            token = self._token(refused=token)
            answer = self._exchange(method, path, token, headers, request, departing)
        self.budget.learn(answer.headers)
        self._raise_for(answer)
        return answer

    def _token(self, refused: str | None = None) -> str:
        try:
            return self._tokens.token(refused)
        except Throttled as error:
            self.budget.exhausted(error.seconds)
            raise

    def _exchange(
        self,
        method: str,
        path: str,
        token: str,
        headers: dict[str, str],
        request: dict[str, Any],
        departing: Callable[[], None] | None,
    ) -> httpx.Response:
        headers = {**headers, "Authorization": f"Bearer {token}"}
        if departing is not None:
            departing()
        try:
            with self.waits.waiting(WaitFor.ANSWER):
                answer = self._answer(method, path, headers=headers, **request)
        except httpx.TransportError as error:
            reached = not isinstance(error, _UNSENT)
            self.sent += reached
            self.failed += reached
            if (refused := certificate_refused(error)) is not None:
                raise refused from None
            kind = MedplumUnavailable if reached else NotReached
            raise kind(
                f"Medplum did not answer ({type(error).__name__}).", "Check that the server runs; then run again."
            ) from None
        self.sent += 1
        self.failed += answer.status_code >= 500
        return answer

    def _answer(
        self, method: str, path: str, consume: Callable[[httpx.Response], None] | None = None, **request: Any
    ) -> httpx.Response:
        """The answer; a 200 is given to `consume` unread, where there is one. Raises AnswerUnfit."""
        with self._http.stream(method, path, **request) as answer:
            if consume is None or answer.status_code != httpx.codes.OK:
                return read_whole(answer)
            consume(answer)
            return answer

    def _raise_for(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status < 300:
            return
        if status < 400:
            raise AnswerUnfit(f"A redirect answered (HTTP {status}), not Medplum.", "Check the base URL.")
        if status == 429:
            seconds = throttled_seconds(json_or_empty(answer))
            self.budget.exhausted(seconds)
            raise Throttled(seconds)
        if status == 500 and json_or_empty(answer).get("resourceType") == "OperationOutcome":
            raise RequestFailed("Medplum failed with a request (HTTP 500).", "Check the server's log.")
        if status >= 500:
            raise MedplumUnavailable(f"Medplum answered {status}.", "Nothing: it is tried again.")
        if status == 409:
            raise RequestFailed("Medplum was busy with the same thing (HTTP 409).", "Nothing: it is tried again.")
        if status in (401, 403):
            raise Unauthorised(
                f"Medplum refused the access (HTTP {status}).",
                "Check the ClientApplication and its access policy, then run again: it goes on where it stopped.",
            )
        if status in (404, 410):
            raise NotFound(f"Medplum has not what was asked for (HTTP {status}).", "See whether it was deleted.")
        issue = issue_text(json_or_empty(answer))
        if status == 413 or (status == 400 and _is_too_large(json_or_empty(answer))):
            raise RequestTooLarge("Medplum refused a body as too large.", "Lower the batch size.")
        problem = f"Medplum refused a request: HTTP {status}, {issue or 'no reason'}."
        raise RequestRefused(problem, "See the reason.", verdict_of(json_or_empty(answer)) or "")


def _is_too_large(outcome: dict[str, Any]) -> bool:
    """Medplum 5.0.10 answers 400 with the text "File too large", later versions 413 (docs/medplum.md, "Limits")."""
    issues = outcome.get("issue", [])
    return any("too large" in str(issue.get("details", {}).get("text", "")).lower() for issue in issues)


def json_or_empty(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty when it is none."""
    try:
        body = read_json(answer.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
