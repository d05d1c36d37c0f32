"""What in Medplum is about some resources, whichever form it says so in: found by reading everything.

A search finds a reference by its exact text, and only where a search parameter leads: neither one to a version, nor an
address, nor one inside of something contained. What is to be deleted must not be referred to by any of them.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta

from medferry.apply.twins import References, Resource
from medferry.fhir.mentions import Name, Sought
from medferry.fhir.resource_types import kept_types
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable, NoVerdict, RequestFailed, RequestRefused, Unauthorised

log = logging.getLogger(__name__)

_SOON = 30
"""Seconds: what took longer is followed by a look at what changed meanwhile."""

_OVERLAP = timedelta(minutes=2)
"""A version is stamped before it is visible (docs/medplum.md, "Search and paging")."""

_KEPT_ALIVE = 5_000
"""Resources that are read between two calls of `alive`."""


def find_mentions(
    client: MedplumClient, identifiers: Mapping[str, Collection[Name]], alive: Callable[[], None] = lambda: None
) -> References:
    """Whatever names one of some resources ("Type/id" → identifiers by which it may be meant): reads all that there is.

    20 points for each 1,000 resources, and for each type. A type that is refused, fails, or cannot be walked to its
    end is told as unchecked; so is a resource whose id is no UUID. `alive` is called every few seconds and may raise.
    """
    sought = Sought(identifiers)
    found: dict[str, set[str]] = defaultdict(set)
    unchecked = dict.fromkeys(sought.untellable)
    if identifiers:
        log.info("Everything in Medplum is read for references to %d resources.", len(identifiers))
    since = ""
    while identifiers:
        began, at = time.monotonic(), client.server_clock.now()
        for kind in kept_types():
            if kind in unchecked:
                continue
            try:
                for resource in _alive(_walk(client, kind, since), alive):
                    for place in sought.named_in(resource):
                        found[place].add(f"{resource['resourceType']}/{resource['id']}")
            except (RequestFailed, RequestRefused, Unauthorised, NoVerdict):
                unchecked[kind] = None
            except MedplumUnavailable:
                unchecked[kind] = None
                identifiers = {}
                break  # each further search would wait as long as this one
        if time.monotonic() - began < _SOON or not at:
            break
        since = (datetime.fromisoformat(at) - _OVERLAP).isoformat(timespec="milliseconds")
    return References({place: sorted(by) for place, by in found.items()}, tuple(unchecked))


def _walk(client: MedplumClient, kind: str, since: str) -> Iterator[Resource]:
    return client.search_all(kind, [("_lastUpdated", f"ge{since}")] if since else [])


def _alive(resources: Iterator[Resource], alive: Callable[[], None]) -> Iterator[Resource]:
    alive()
    for number, resource in enumerate(resources, start=1):
        if number % _KEPT_ALIVE == 0:
            alive()
        yield resource
