"""A synchronous Medplum client, safe to share between threads: OAuth2, budget, typed errors, keep-alive.

No message of its errors quotes a body or a query: both hold patient data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson
from more_itertools import chunked

from medferry.fhir.identifiers import parameter_of
from medferry.fhir.references import system_token
from medferry.medplum import budget as points
from medferry.medplum.answers import (
    EntryOutcome,
    ReadAnswer,
    is_of_one_moment,
    next_of,
    read_answers,
    read_bundle,
    read_outcomes,
    read_text,
    read_texts,
)
from medferry.medplum.bundles import EXTENDED, batch_body, no_bundle
from medferry.medplum.conditional import Conditional
from medferry.medplum.errors import (
    MedplumUnavailable,
    NoVerdict,
    RequestFailed,
    RequestRefused,
    Throttled,
    Unauthorised,
)
from medferry.medplum.http import query_text
from medferry.medplum.oauth import profile_of, project_of
from medferry.medplum.outcome import verdict_of
from medferry.medplum.requests import json_or_empty

Resource = dict[str, Any]

EXACT_BELOW = 1_000_000
"""From here on, a server's count may be an estimate (docs/medplum.md, "Search and paging")."""

PAGE = 1_000
"""The most that one search returns (a larger ``_count`` is silently cut)."""

_MOST_PAGES = 1_000_000
"""Of one search: a thousand million resources."""

_SEARCH_BYTES = 65_000
"""The longest query of one look-up: Medplum's router refuses more than 70,000 characters in an entry of a batch."""

_HISTORY_PAGE, _HISTORY_PAGES = 100, 20

_READS_AT_ONCE = 200
"""Reads by id in one batch."""


class MedplumClient(Conditional):
    """One FHIR project of a Medplum server.

    Reads are retried here; writes are not, because only their caller can find out what became of them. Searches as
    requests of their own may be answered by a replica that lags behind: all go as entries of a batch, and what a write
    depends on and has an id is read by it (docs/medplum.md, "Search and paging").
    """

    def __enter__(self) -> MedplumClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading -----------------------------------------------------------------------------------

    def search(self, resource_type: str, parameters: Iterable[tuple[str, str]], extended: bool = False) -> Resource:
        """One page of a search, as an entry of a batch: no log of URLs sees it, and no replica that lags answers it.

        (Unless the server is set to answer batches of reads by one, too.) `extended` shows all of `meta`.
        """
        try:
            return read_bundle(self._searchset(resource_type, parameters, extended))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise no_bundle() from None

    def search_all(
        self, resource_type: str, parameters: Iterable[tuple[str, str]], most: int = _MOST_PAGES
    ) -> Iterator[Resource]:
        """Every match, oldest change first, walked by cursor (offsets end at 10,000).

        A resource that changes during the walk may come twice; callers key by id. Raises NoVerdict where a page is full
        of resources of one moment (the cursor, which is a time, may not get past them), where a cursor comes again,
        and after `most` pages.
        """
        form = [*parameters, ("_count", str(PAGE)), ("_sort", "_lastUpdated")]
        walked: set[str] = set()
        for _ in range(most):
            page = self.search(resource_type, form)
            for entry in page.get("entry", []):
                yield entry["resource"]
            following = next_of(page)
            if following is None:
                return
            if following in walked:
                break
            walked.add(following)
            if is_of_one_moment(page):
                raise NoVerdict("More resources than a page holds are of one moment.", "Write one of them again.")
            form = parse_qsl(following)
        raise NoVerdict("The pages of a search come to no end.", "Check what stands in between, and Medplum.")

    def by_name(self, resource_type: str, system: str, values: Sequence[str]) -> list[Resource]:
        """id, identifier and whole meta of the resources named by any of `values` (at most 1,000); mostly one search.

        The meta is that of the extended mode: with author and accounts.
        """
        named = (parameter_of(resource_type), ",".join(system_token(system, value) for value in values))
        form = [named, ("_fields", "id,identifier,meta"), ("_count", str(PAGE))]
        if len(values) == 1 or len(query_text(form)) <= _SEARCH_BYTES:
            page = self.search(resource_type, form, extended=True)
            found = [entry["resource"] for entry in page.get("entry", [])]
            if len(found) < PAGE or len(values) == 1:
                return found
        half = len(values) // 2  # a full page may hide more: some identifiers stand in many resources
        return [r for some in (values[:half], values[half:]) for r in self.by_name(resource_type, system, some)]

    def any_of_system(self, resource_type: str, system: str) -> bool:
        """Whether any resource has a name of `system`; one search."""
        form = [(parameter_of(resource_type), system_token(system)), ("_fields", "id"), ("_count", "1")]
        page = self.search(resource_type, form)
        return bool(page.get("entry"))

    def by_id(self, resource_type: str, ids: Sequence[str]) -> dict[str, Resource]:
        """Whole resources by id (at most 1,000); those that do not exist are missing from the result."""
        page = self.search(resource_type, [("_id", ",".join(ids)), ("_count", str(PAGE))])
        return {entry["resource"]["id"]: entry["resource"] for entry in page.get("entry", [])}

    def texts_by_id(self, resource_type: str, ids: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """id → (version, JSON) of those of `ids` (at most 1,000) that a search in a batch shows."""
        try:
            return read_texts(self._searchset(resource_type, [("_id", ",".join(ids)), ("_count", str(PAGE))]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise no_bundle() from None

    def _searchset(self, resource_type: str, parameters: Iterable[tuple[str, str]], extended: bool = False) -> bytes:
        [answer] = self._in_batch([f"{resource_type}?{query_text(parameters)}"], points.SEARCH, extended)
        if answer.status == 403:
            raise Unauthorised("Medplum refused a search (HTTP 403).", "Check the client's access policy.")
        return answer.resource

    def read_each(
        self, names: Sequence[tuple[str, str]], gone: set[str] | None = None, extended: bool = False
    ) -> dict[str, tuple[str, bytes]]:
        """id → (version, JSON) of those of (resource type, id) that can be read: read by id, a point each.

        `gone` takes the ids of those that were deleted (410). `extended` shows all of `meta`.
        """
        found: dict[str, tuple[str, bytes]] = {}
        for some in chunked(names, _READS_AT_ONCE):
            answers = self._in_batch(
                [f"{resource_type}/{medplum_id}" for resource_type, medplum_id in some], points.READ, extended
            )
            try:
                found |= {
                    id_: read_text(a.resource) for (_, id_), a in zip(some, answers, strict=True) if a.status == 200
                }
            except (ValueError, KeyError, TypeError):
                raise no_bundle() from None
            if gone is not None:
                gone |= {id_ for (_, id_), answer in zip(some, answers, strict=True) if answer.status == 410}
        return found

    def versions(self, resource_type: str, ids: Sequence[str]) -> dict[str, str]:
        """id → version of those of `ids` (at most 1,000) that exist; one search."""
        form = [("_id", ",".join(ids)), ("_fields", "id,meta"), ("_count", str(PAGE))]
        page = self.search(resource_type, form)
        return {entry["resource"]["id"]: entry["resource"]["meta"]["versionId"] for entry in page.get("entry", [])}

    def count(self, resource_type: str, parameters: Iterable[tuple[str, str]] = ()) -> int:
        """The number of matches; above the server's threshold (a million, as a rule) an estimate."""
        return int(self.search(resource_type, [*parameters, ("_summary", "count")])["total"])

    def validate(self, resource: Resource) -> str | None:
        """What ``$validate`` finds wrong, as "code at path"; None when nothing is. Writes nothing.

        Raises NoVerdict when the answer says nothing about the resource (HTML, a fault of the server).
        """
        path = f"fhir/R4/{resource['resourceType']}/$validate"
        headers = {"Content-Type": "application/fhir+json"}
        try:
            answer = self._read("POST", path, points.SEARCH, content=orjson.dumps(resource), headers=headers)
        except RequestRefused as error:
            verdict = error.verdict or None
        else:
            verdict = verdict_of(json_or_empty(answer))
        if verdict is None:
            raise NoVerdict(
                "Medplum's answer to $validate says nothing about the resource.",
                "Check what stands in between, and that the client may call $validate; then verify again.",
            )
        return verdict or None

    def project(self, patient: bool = True) -> str:
        """Id of its project; empty where the server does not tell. Not `patient`: asked for once, without retries."""
        return project_of(self._tokens, self._read if patient else self._send)

    def profile(self) -> str:
        """As whom this client writes: "ClientApplication/<id>"; empty where the server does not tell."""
        return profile_of(self._tokens, self._read)

    def find(self, resource_type: str, parameters: Iterable[tuple[str, str]]) -> list[Resource]:
        """One page of a search by its URL, for what holds no patient data; a replica that lags may answer it."""
        page = json_or_empty(self._read("GET", f"fhir/R4/{resource_type}?{query_text(parameters)}", points.SEARCH))
        return [entry["resource"] for entry in page.get("entry", [])]

    def history(self, resource_type: str, medplum_id: str) -> list[Resource]:
        """Every entry of a resource's history, the newest first, each version with its author (``meta.author``).

        Raises NoVerdict when its pages do not come to an end, NotFound.
        """
        found: list[Resource] = []
        for _ in range(_HISTORY_PAGES):
            path = f"fhir/R4/{resource_type}/{medplum_id}/_history?_count={_HISTORY_PAGE}&_offset={len(found)}"
            page = json_or_empty(self._read("GET", path, points.SEARCH, headers=EXTENDED))
            if page.get("resourceType") != "Bundle":
                raise no_bundle()
            found += page.get("entry", [])
            if len(page.get("entry", [])) < _HISTORY_PAGE:
                return found
        raise NoVerdict("A history does not come to an end.", "Look at it by hand.")

    # -- writing -----------------------------------------------------------------------------------

    def batch(
        self,
        entries: Sequence[dict[str, Any]],
        cost: int,
        before: Callable[[], None] | None = None,
        extended: bool = False,
        departing: Callable[[], None] | None = None,
    ) -> list[EntryOutcome]:
        """Post a batch Bundle and return every entry's own outcome, in order. Not retried.

        `before` is called when it is paid for, before it is sent, and `departing` each time that it leaves (again after
        a 401); what they raise keeps it from being sent.
        `extended`: an admin's entries say who may see what they write, by its `meta.accounts` or the lack of them.
        Raises MedplumUnavailable when no trustworthy answer came: the entries may or may not have been done.
        """
        body, headers = batch_body(entries, extended)
        answer = self._send("POST", "fhir/R4/", cost, before=before, departing=departing, content=body, headers=headers)
        try:
            outcomes, wait = read_outcomes(answer.content)
        except ValueError:
            outcomes, wait = [], None
        if len(outcomes) != len(entries):
            raise MedplumUnavailable("Medplum's answer to a batch does not fit its entries.", "Nothing: it is checked.")
        if wait is not None:
            self.budget.exhausted(wait)
        return outcomes

    def _in_batch(self, urls: Sequence[str], cost: int, extended: bool = False) -> list[ReadAnswer]:
        """What each of some GETs in one batch was answered, at `cost` points each; None where nothing can be read."""
        entries = [{"request": {"method": "GET", "url": url}} for url in urls]
        content, headers = batch_body(entries, extended)
        found: list[ReadAnswer] = []

        def trusted(answer: httpx.Response) -> None:
            found[:] = self._trusted(answer.content, len(urls))

        answer = self._read("POST", "fhir/R4/", cost * len(urls), trusted, content=content, headers=headers)
        return found or self._trusted(answer.content, len(urls))

    def _trusted(self, batch_response: bytes, number: int) -> list[ReadAnswer]:
        """The answers to reads. Raises Throttled, RequestFailed, Unauthorised, RequestRefused."""
        try:
            answers, wait = read_answers(batch_response)
        except ValueError:
            answers, wait = [], None
        if len(answers) != number:
            raise no_bundle()
        if wait is not None:
            self.budget.exhausted(wait)
            raise Throttled(wait)
        for answer in answers:
            if answer.status >= 500 or (answer.status == 400 and not answer.placed):
                raise RequestFailed("Medplum failed with a read in a batch.", "Check the server and its database.")
            if answer.status == 401:
                raise Unauthorised("Medplum refused the access (HTTP 401).", "Check the ClientApplication.")
            if answer.status == 400:
                raise RequestRefused(f"Medplum refused a read in a batch: {answer.issue}.", "See the reason.")
        return answers
