"""What a client sees of its own writes: how soon, and whether at all; and whether the server can write at present.

Searches may lag behind writes (a replica answers them), and an access policy may let a client create what it never
sees. Either would make a look-up say "not there" of what is. So the first create of each type is sent alone, read by
its id, and searched until it shows, before any other is sent.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from medferry.apply.disputes import Content
from medferry.errors import MedferryError
from medferry.fhir.accounts import accounts_in, with_accounts
from medferry.fhir.canonical import owned
from medferry.manifest.crosswalk import Name
from medferry.medplum import budget as points
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable, Throttled

_LONGEST_LAG = 60.0
"""Seconds; a search that is further behind is no way to look anything up."""

_TRIES = 2
"""Creates of a type that must stay hidden before it is called hidden: one may have been answered and not stored."""

_FIRST_POLL, _LONGEST_POLL = 0.02, 2.0


class WritesHidden(MedferryError):
    """Medplum created a resource that this client cannot read or find: it could not tell what is there already."""


@dataclass
class Visibility:
    """Shared by all threads of one process that load into one Medplum. `settle_seconds` bounds the lag, too.

    `lag` is the longest time, in seconds, that a search took to show what had been written.
    """

    client: MedplumClient
    settle_seconds: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    lag: float = 0.0
    _seen: set[str] = field(default_factory=set)
    _hidden: Counter[str] = field(default_factory=Counter)
    _types: dict[str, threading.RLock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ours: tuple[str, str, Content] | None = None
    """(resource type, id, content) of the newest write that was proven."""

    def of_type(self, resource_type: str) -> threading.RLock:
        """Held while the first create of a type is tried."""
        with self._lock:
            return self._types.setdefault(resource_type, threading.RLock())

    def is_known(self, resource_type: str) -> bool:
        """Whether a create of this type was seen to be visible."""
        return resource_type in self._seen

    def prove(self, resource_type: str, name: Name, medplum_id: str) -> None:
        """Wait until what was just created shows, by its id and by its name; `is_known` tells if it did.

        Raises WritesHidden when it is not the first of its type that never shows.
        """
        started, poll = self.clock(), _FIRST_POLL
        patience = min(self.settle_seconds, _LONGEST_LAG)
        while not (
            readable := medplum_id in self.client.read_each([(resource_type, medplum_id)])
        ) or medplum_id not in {resource["id"] for resource in self.client.by_name(resource_type, name[0], [name[1]])}:
            if self.clock() - started > patience:
                self._hide(resource_type, medplum_id, readable, patience)
                return
            self.sleep(poll)
            poll = min(2 * poll, _LONGEST_POLL)
        with self._lock:
            self._seen.add(resource_type)
            if poll > _FIRST_POLL:  # what shows at once is no lag
                self.lag = max(self.lag, self.clock() - started)

    def _hide(self, resource_type: str, medplum_id: str, readable: bool, seconds: float) -> None:
        """Raises WritesHidden when it is not the first of its type that stays hidden."""
        with self._lock:
            self._hidden[resource_type] += 1
            if self._hidden[resource_type] < _TRIES:
                return
        what = "no search finds" if readable else "this client cannot read"
        raise WritesHidden(
            f"Medplum created {resource_type}/{medplum_id}, which {what} after {seconds:.0f} s.",
            "Let the client's AccessPolicy include read and search of every type that is loaded, without criteria that "
            "hide what it creates, and searches lag by less; delete what was created so; then run again.",
        )

    def keep(self, resource_type: str, medplum_id: str, content: Content) -> None:
        """Remember a resource of ours as Medplum has it: `can_write` puts it back."""
        self._ours = (resource_type, medplum_id, content)

    @property
    def can_control(self) -> bool:
        """Whether there is a resource with which `can_write` can try."""
        return self._ours is not None

    def can_write(self) -> bool:
        """Whether Medplum takes a write now: a resource of ours is put back unchanged, which makes no version."""
        if self._ours is None:
            return False
        resource_type, medplum_id, (version, text) = self._ours
        request = {"method": "PUT", "url": f"{resource_type}/{medplum_id}", "ifMatch": f'W/"{version}"'}
        try:
            standing = self.client.read_each([(resource_type, medplum_id)], extended=True)
            accounts = accounts_in(standing.get(medplum_id, (version, text))[1])
            body = with_accounts(orjson.dumps(owned(orjson.loads(text)) | {"id": medplum_id}), accounts)
            entry = {"resource": orjson.Fragment(body), "request": request}
            [outcome] = self.client.batch([entry], points.WRITE, extended=bool(accounts))
        except (MedplumUnavailable, Throttled):
            return False
        if outcome.status in (401, 403, 404, 410, 412):
            self._ours = None  # somebody has changed or deleted it, or this client may not change it: it tells nothing
        return outcome.done
