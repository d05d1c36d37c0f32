"""A proxy before the embedded Medplum whose searches lag behind writes, as a read replica's do, or hide some types.

Outside of batches only searches lag, as seen on real servers; `in_batches` lets batches of reads lag, too, as 5.2
does where it is told to. Nothing is lost: what was written is there, and is not shown yet.
Whoever has the embedded Medplum's time advanced through it makes the lag shorter, too.
"""

from __future__ import annotations

import gzip
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

_HOP = frozenset({"host", "content-length", "accept-encoding", "connection", "transfer-encoding", "content-encoding"})

Resource = dict[str, Any]


class LaggingProxy:
    """A context manager; `base_url` is where it answers. `lag` in seconds; `hidden` types are never shown."""

    def __init__(self, upstream: str, lag: float = 0.0, in_batches: bool = False, hidden: tuple[str, ...] = ()) -> None:
        self.upstream, self.lag, self.in_batches, self.hidden = upstream, lag, in_batches, hidden
        self.advanced: list[tuple[datetime, float]] = []
        """When time was advanced, and by how many seconds."""
        self.client = httpx.Client(timeout=60)
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.client.close()

    def shown(self, resource: Resource) -> bool:
        """Whether a reader sees the resource already."""
        if resource.get("resourceType") in self.hidden:
            return False
        written_at = resource.get("meta", {}).get("lastUpdated")
        if written_at is None:
            return True
        written = datetime.fromisoformat(written_at)
        skipped = sum(seconds for moment, seconds in self.advanced if moment >= written)
        return datetime.now(UTC) - written > timedelta(seconds=self.lag - skipped)

    def answer(self, path: str, asked: bytes, answered: bytes) -> bytes:
        """What a reader is told instead."""
        if path.split("?")[0].endswith("_search"):
            return json.dumps(self._search(json.loads(answered))).encode()
        if path.rstrip("/").endswith("R4") and b'"method":"GET"' in asked and (self.in_batches or self.hidden):
            bundle = json.loads(answered)
            bundle["entry"] = [self._entry(entry) for entry in bundle.get("entry", [])]
            return json.dumps(bundle).encode()
        return answered

    def _search(self, bundle: Resource) -> Resource:
        if bundle.get("resourceType") != "Bundle" or "entry" not in bundle:
            return bundle
        return {**bundle, "entry": [entry for entry in bundle["entry"] if self.shown(entry["resource"])]}

    def _entry(self, entry: Resource) -> Resource:
        resource = entry.get("resource")
        if not resource:
            return entry
        if resource["resourceType"] == "Bundle":
            return {**entry, "resource": self._search(resource)}
        outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}
        return entry if self.shown(resource) else {"response": {"status": "404", "outcome": outcome}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the client to have acknowledged its headers
    owner: LaggingProxy

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        if self.headers.get("Content-Encoding"):
            headers["Content-Encoding"] = self.headers["Content-Encoding"]
        url = self.owner.upstream + self.path.lstrip("/")
        try:
            answer = self.owner.client.request(self.command, url, content=body, headers=headers)
        except httpx.TransportError:
            self.close_connection = True
            return
        if self.path == "/advance":
            self.owner.advanced.append((datetime.now(UTC), json.loads(body)["ms"] / 1_000))
        asked = body if not headers.get("Content-Encoding") else gzip.decompress(body)
        content = self.owner.answer(self.path, asked, answer.content) if answer.status_code == 200 else answer.content
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP and name.lower() != "keep-alive":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 (names of the standard library)
