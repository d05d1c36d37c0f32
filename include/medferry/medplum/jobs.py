"""Asynchronous batches: Medplum answers with a status URL, works, and keeps the results in a Binary.

A job that dies with its server starts again from its first entry about a minute later, at whatever moment that is: only
entries that may run twice go into one (a create with ``ifNoneExist``, an update with ``ifMatch``). Measured behaviour:
docs/throughput.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from medferry.medplum import budget as points
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import JobFailed, JobStuck, MedplumUnavailable, RequestRefused

STUCK_AFTER = 600.0
"""Seconds without an end after which a job is given up. Long enough for a restart of the server and a queue of other
jobs; shorter than a lease (15 minutes), which is not renewed while its holder waits."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
"""Seconds between two polls: each pause is half as long again as the one before. A poll costs one point."""

_REMEDY = "Nothing: what it did is looked up."

_STATUS_PATH = re.compile(r"job/[A-Za-z0-9-]+/status$")


def submit(client: MedplumClient, entries: Sequence[dict[str, Any]]) -> str:
    """Hand over a batch of repeatable entries (at most 50 MB); returns the path of its status ("fhir/R4/job/…").

    Raises Throttled, Unauthorised, RequestTooLarge, RequestRefused when it was not taken, and MedplumUnavailable
    when that is not known: the entries may run at any later time.
    """
    answer = client.post_batch(entries, points.READ, prefer="respond-async")
    place = _STATUS_PATH.search(answer.headers.get("Content-Location", ""))
    if answer.status_code != 202 or place is None:
        raise MedplumUnavailable(
            "Medplum did not take a batch as a job.", "Check that no proxy removes the header Prefer."
        )
    return f"fhir/R4/{place[0]}"


def poll(client: MedplumClient, path: str) -> str | None:
    """None while the job runs; then the id of the Binary with its results. Raises JobFailed when it ended without."""
    try:
        answer = client.get(path)
    except RequestRefused as error:
        raise JobFailed(f"Medplum no longer knows a job. {error.problem}", _REMEDY) from None
    return None if answer.status_code == 202 else _results(answer.content)


def _results(job: bytes) -> str:
    """The Binary that an ended AsyncJob names."""
    try:
        resource = orjson.loads(job)
        parameters = resource["output"]["parameter"] if resource["status"] == "completed" else []
        reference = next(str(p["valueReference"]["reference"]) for p in parameters if p["name"] == "results")
    except (orjson.JSONDecodeError, KeyError, TypeError, StopIteration):
        raise JobFailed("A job ended in error, without results.", _REMEDY) from None
    return reference.removeprefix("Binary/")


def wait(client: MedplumClient, path: str, sleep: Callable[[float], None] = time.sleep) -> str:
    """The results' Binary, once the job has ended. A job outlives its server: one that is away is waited for.

    Raises JobFailed, JobStuck after `STUCK_AFTER` seconds, Unauthorised.
    """
    deadline, pause, trouble = time.monotonic() + STUCK_AFTER, _FIRST_PAUSE, ""
    while True:
        try:
            if (results := poll(client, path)) is not None:
                return results
        except JobFailed:
            raise
        except MedplumUnavailable as error:
            trouble = f" Last trouble: {error.problem}"
        if time.monotonic() + pause > deadline:
            raise JobStuck(
                f"A job of Medplum came to no end within {STUCK_AFTER:.0f} s.{trouble}",
                "Check Medplum's workers and Redis; the task's retry, or a resumed run, goes on without that job.",
            )
        sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def fetch(client: MedplumClient, binary: str, entries: int) -> list[EntryOutcome]:
    """Every entry's own outcome, in order, from the Binary. Raises JobFailed when it is gone, MedplumUnavailable."""
    content = client.binary(binary)
    if content is None:
        raise JobFailed("A job's results are gone.", _REMEDY)
    return client.outcomes(content, entries)
