"""A synchronous Medplum client, safe to share between threads: OAuth2, budget, typed errors, keep-alive.

No message of its errors quotes a body or a query: both hold patient data.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from medferry.errors import TransientError
from medferry.fhir.references import system_token
from medferry.medplum import budget as points
from medferry.medplum.answers import EntryOutcome, issue_text, read_outcomes, read_texts, throttled_seconds
from medferry.medplum.budget import Budget
from medferry.medplum.errors import (
    MedplumUnavailable,
    NotFound,
    NotReached,
    RequestRefused,
    RequestTooLarge,
    Throttled,
    Unauthorised,
)
from medferry.medplum.http import HttpSettings, open_http
from medferry.medplum.oauth import TokenSource

Resource = dict[str, Any]

PAGE = 1_000
"""The most that one search returns (a larger ``_count`` is silently cut)."""

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_GZIP_FROM_BYTES = 2_048
_READ_ATTEMPTS = 6
_TOKEN_RENEWALS = 10
"""A token may be revoked again before it is used, by whoever renews in another lane."""


class MedplumClient:
    """One FHIR project of a Medplum server.

    `base_url` is the server's root ("http://host:8103/"). Reads are retried here; writes are not, because only
    their caller can find out what became of them.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        budget: Budget | None = None,
        http: HttpSettings | None = None,
    ) -> None:
        self.budget = budget or Budget()
        self._http = open_http(base_url, http or HttpSettings())
        # Compressing a page of answers costs the server more than looking it up; ours to it are compressed.
        self._http.headers["Accept-Encoding"] = "identity"
        self._tokens = TokenSource(self._http, client_id, client_secret)
        self.sent = 0
        """Requests so far, repeated ones too; `failed` of them got no answer or a 5xx."""
        self.failed = 0

    def __enter__(self) -> MedplumClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # -- reading -----------------------------------------------------------------------------------

    def search(self, resource_type: str, parameters: Iterable[tuple[str, str]]) -> Resource:
        """One page of a search, sent as POST so that long lists fit and no log of URLs sees them."""
        bundle = _json_or_empty(self._search(resource_type, parameters))
        if bundle.get("resourceType") != "Bundle":
            raise _no_bundle()
        return bundle

    def search_all(self, resource_type: str, parameters: Iterable[tuple[str, str]]) -> Iterator[Resource]:
        """Every match, oldest change first, walked by cursor (offsets end at 10,000).

        A resource that changes during the walk may come twice; callers key by id.
        """
        form = [*parameters, ("_count", str(PAGE)), ("_sort", "_lastUpdated")]
        while True:
            page = self.search(resource_type, form)
            for entry in page.get("entry", []):
                yield entry["resource"]
            following = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), None)
            if following is None:
                return
            form = parse_qsl(urlsplit(following).query)

    def by_identifier(self, resource_type: str, system: str, values: Sequence[str]) -> list[Resource]:
        """id, identifier and meta of the resources with any of `values` (at most 1,000); one search, as a rule."""
        tokens = ",".join(system_token(system, value) for value in values)
        page = self.search(
            resource_type, [("identifier", tokens), ("_fields", "id,identifier,meta"), ("_count", str(PAGE))]
        )
        found = [entry["resource"] for entry in page.get("entry", [])]
        if len(found) < PAGE or len(values) == 1:
            return found
        half = len(values) // 2  # a full page may hide more: some identifiers stand in many resources
        return [r for some in (values[:half], values[half:]) for r in self.by_identifier(resource_type, system, some)]

    def any_of_system(self, resource_type: str, system: str) -> bool:
        """Whether any resource has an identifier of `system`; one search."""
        page = self.search(resource_type, [("identifier", system_token(system)), ("_fields", "id"), ("_count", "1")])
        return bool(page.get("entry"))

    def by_id(self, resource_type: str, ids: Sequence[str]) -> dict[str, Resource]:
        """Whole resources by id (at most 1,000); those that do not exist are missing from the result."""
        page = self.search(resource_type, [("_id", ",".join(ids)), ("_count", str(PAGE))])
        return {entry["resource"]["id"]: entry["resource"] for entry in page.get("entry", [])}

    def texts_by_id(self, resource_type: str, ids: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """id → (version, JSON) of those of `ids` (at most 1,000) that exist; one search."""
        answer = self._search(resource_type, [("_id", ",".join(ids)), ("_count", str(PAGE))])
        try:
            return read_texts(answer.content)
        except ValueError:
            raise _no_bundle() from None

    def versions(self, resource_type: str, ids: Sequence[str]) -> dict[str, str]:
        """id → version of those of `ids` (at most 1,000) that exist; one search."""
        page = self.search(resource_type, [("_id", ",".join(ids)), ("_fields", "id,meta"), ("_count", str(PAGE))])
        return {entry["resource"]["id"]: entry["resource"]["meta"]["versionId"] for entry in page.get("entry", [])}

    def count(self, resource_type: str, parameters: Iterable[tuple[str, str]] = ()) -> int:
        """The exact number of matches."""
        return int(self.search(resource_type, [*parameters, ("_summary", "count")])["total"])

    def binary(self, medplum_id: str) -> bytes | None:
        """The bytes of a Binary; None when there is none of that id."""
        try:
            return self._read("GET", f"fhir/R4/Binary/{medplum_id}", points.READ, headers={"Accept": "*/*"}).content
        except NotFound:
            return None

    def validate(self, resource: Resource) -> str | None:
        """What ``$validate`` finds wrong, as "code at path"; None when nothing is. Writes nothing."""
        try:
            path = f"fhir/R4/{resource['resourceType']}/$validate"
            headers = {"Content-Type": "application/fhir+json"}
            self._read("POST", path, points.SEARCH, content=orjson.dumps(resource), headers=headers)
        except RequestRefused as error:
            return error.problem
        return None

    # -- writing -----------------------------------------------------------------------------------

    def batch(
        self, entries: Sequence[dict[str, Any]], cost: int, before: Callable[[], None] | None = None
    ) -> list[EntryOutcome]:
        """Post a batch Bundle and return every entry's own outcome, in order. Not retried.

        `before` is called when it is paid for, right before it is sent; what it raises keeps it from being sent.
        Raises MedplumUnavailable when no trustworthy answer came: the entries may or may not have been done.
        """
        body = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": list(entries)})
        headers = {"Content-Type": "application/fhir+json"}
        if len(body) >= _GZIP_FROM_BYTES:
            body, headers["Content-Encoding"] = gzip.compress(body, compresslevel=1), "gzip"
        answer = self._send("POST", "fhir/R4/", cost, before, content=body, headers=headers)
        try:
            outcomes, wait = read_outcomes(answer.content)
        except ValueError:
            outcomes, wait = [], None
        if len(outcomes) != len(entries):
            raise MedplumUnavailable("Medplum's answer to a batch does not fit its entries.", "Nothing: it is checked.")
        if wait is not None:
            self.budget.exhausted(wait)
        return outcomes

    # -- one request -------------------------------------------------------------------------------

    def _search(self, resource_type: str, parameters: Iterable[tuple[str, str]]) -> httpx.Response:
        return self._read("POST", f"fhir/R4/{resource_type}/_search", points.SEARCH, data=list(parameters))

    def _read(self, method: str, path: str, cost: int, **request: Any) -> httpx.Response:
        """Send until answered. Being throttled is waited out and is no failed attempt, however often it happens."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError) & retry_if_not_exception_type(Throttled),
            stop=stop_after_attempt(_READ_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            reraise=True,
        )
        while True:
            try:
                return retrying(self._send, method, path, cost, **request)
            except Throttled:
                continue  # the budget knows for how long, and the next attempt pays only then

    def _send(
        self, method: str, path: str, cost: int, before: Callable[[], None] | None = None, **request: Any
    ) -> httpx.Response:
        """Pay, send, refresh a refused token, and turn every failure into its type."""
        self.budget.pay(cost)
        headers = request.pop("headers", {})
        if isinstance(request.get("data"), list):
            request["content"] = str(httpx.QueryParams(request.pop("data"))).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        token = self._token()
        if before is not None:
            before()
        answer = self._exchange(method, path, token, headers, request)
        for _ in range(_TOKEN_RENEWALS):
            if answer.status_code != 401:
                break
            token = self._token(refused=token)
            answer = self._exchange(method, path, token, headers, request)
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
        self, method: str, path: str, token: str, headers: dict[str, str], request: dict[str, Any]
    ) -> httpx.Response:
        self.sent += 1
        headers = {**headers, "Authorization": f"Bearer {token}"}
        try:
            answer = self._http.request(method, path, headers=headers, **request)
            self.failed += answer.status_code >= 500
            return answer
        except httpx.TransportError as error:
            self.failed += 1
            kind = NotReached if isinstance(error, _UNSENT) else MedplumUnavailable
            raise kind(
                f"Medplum did not answer ({type(error).__name__}).", "Check that the server runs; then run again."
            ) from None

    def _raise_for(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status < 400:
            return
        if status == 429:
            seconds = throttled_seconds(_json_or_empty(answer))
            self.budget.exhausted(seconds)
            raise Throttled(seconds)
        if status >= 500:
            raise MedplumUnavailable(f"Medplum answered {status}.", "Nothing: it is tried again.")
        if status in (401, 403):
            raise Unauthorised(
                f"Medplum refused the access (HTTP {status}).",
                "Check the ClientApplication and its access policy, then run again: it goes on where it stopped.",
            )
        if status in (404, 410):
            raise NotFound(f"Medplum has not what was asked for (HTTP {status}).", "See whether it was deleted.")
        issue = issue_text(_json_or_empty(answer))
        if status == 413 or (status == 400 and _is_too_large(_json_or_empty(answer))):
            raise RequestTooLarge("Medplum refused a body as too large.", "Lower the batch size.")
        raise RequestRefused(f"Medplum refused a request: HTTP {status}, {issue or 'no reason'}.", "See the reason.")


def _no_bundle() -> MedplumUnavailable:
    """To take such an answer for "nothing found" would create what is there already."""
    return MedplumUnavailable("Medplum's answer to a search is no Bundle.", "Check what stands in between.")


def _is_too_large(outcome: dict[str, Any]) -> bool:
    """Medplum 5.0.10 answers 400 with the text "File too large", later versions 413 (docs/medplum.md, "Limits")."""
    issues = outcome.get("issue", [])
    return any("too large" in str(issue.get("details", {}).get("text", "")).lower() for issue in issues)


def _json_or_empty(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
