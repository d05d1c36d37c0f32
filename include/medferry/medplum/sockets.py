"""The connections of an HTTP client, so that a request that nobody waits for any more can be cut off."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import httpx

_OPENED = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})


@dataclass(slots=True)
class Sockets:
    """`watch` is a hook of each request: httpx tells then which connections it opens. Closed ones forget themselves."""

    _known: WeakSet[socket.socket] = field(default_factory=WeakSet)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, request: httpx.Request) -> None:
        request.extensions["trace"] = self._trace

    def shut_down(self) -> None:
        """End every connection, also one that a thread reads from now: it reads its end."""
        with self._lock:
            for each in list(self._known):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _trace(self, event: str, told: dict[str, Any]) -> None:
        if event in _OPENED and (opened := told["return_value"].get_extra_info("socket")) is not None:
            with self._lock:
                self._known.add(opened)
