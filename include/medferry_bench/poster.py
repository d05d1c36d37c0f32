"""Post Bundles as they are, in lanes, level by level, until every entry is done: no look-up, no proof, no ledger."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from medferry.medplum.budget import CONDITIONAL_WRITE_IN_BATCH, WRITE, Budget
from medferry.medplum.oauth import TokenSource

Entry = dict[str, Any]

_ROUNDS = 50
"""Times that entries which were refused (409, 429, a reference that is not there yet) are sent again."""


class NotAllDone(RuntimeError):
    """Some entries failed in every round."""


@dataclass(frozen=True, slots=True)
class Request:
    """A batch, serialised before the clock starts."""

    entries: Sequence[Entry]
    body: bytes
    cost: int


def request_of(entries: Sequence[Entry]) -> Request:
    body = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
    points = WRITE if entries[0]["request"]["method"] == "POST" else CONDITIONAL_WRITE_IN_BATCH
    return Request(entries, gzip.compress(body, compresslevel=1), points * len(entries))


@dataclass(slots=True)
class Poster:
    """One client with `lanes` requests in flight. `statuses` counts the entries' own statuses."""

    base_url: str
    client_id: str
    client_secret: str
    lanes: int
    batch_size: int
    statuses: Counter[int] = field(default_factory=Counter)
    _budget: Budget = field(default_factory=Budget)

    def post(self, levels: Sequence[Sequence[Request]]) -> float:
        """Post each level when the one before is done; returns the seconds. Raises NotAllDone."""
        limits = httpx.Limits(max_connections=self.lanes, max_keepalive_connections=self.lanes)
        with (
            httpx.Client(base_url=self.base_url.rstrip("/") + "/", timeout=600, limits=limits) as http,
            ThreadPoolExecutor(self.lanes) as lanes,
        ):
            tokens = TokenSource(http, self.client_id, self.client_secret)
            tokens.token()
            started = time.perf_counter()
            for requests in levels:
                self._level(http, tokens, lanes, requests)
            return time.perf_counter() - started

    def _level(
        self, http: httpx.Client, tokens: TokenSource, lanes: ThreadPoolExecutor, requests: Sequence[Request]
    ) -> None:
        for _ in range(_ROUNDS):
            answers = lanes.map(lambda request: self._send(http, tokens, request), requests)
            again = [entry for failed in answers for entry in failed]
            if not again:
                return
            requests = [request_of(some) for some in _cut(again, self.batch_size)]
        raise NotAllDone(f"{len(again)} entries were refused in {_ROUNDS} rounds: {dict(self.statuses)}")

    def _send(self, http: httpx.Client, tokens: TokenSource, request: Request) -> list[Entry]:
        """Post one request; returns the entries that were refused."""
        self._budget.pay(request.cost)
        headers = {
            "Authorization": f"Bearer {tokens.token()}",
            "Content-Type": "application/fhir+json",
            "Content-Encoding": "gzip",
            "Accept-Encoding": "identity",
        }
        answer = http.post("fhir/R4/", content=request.body, headers=headers)
        self._budget.learn(answer.headers)
        if answer.status_code != 200:
            self.statuses[answer.status_code] += len(request.entries)
            return list(request.entries)
        statuses = [int(entry["response"]["status"][:3]) for entry in orjson.loads(answer.content)["entry"]]
        self.statuses.update(statuses)
        if 429 in statuses:
            self._budget.exhausted(60)
        return [entry for entry, status in zip(request.entries, statuses, strict=True) if status not in (200, 201)]


def _cut(entries: Sequence[Entry], size: int) -> Iterator[Sequence[Entry]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
