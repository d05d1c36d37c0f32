"""A server that answers in Medplum's place with whatever a test has planted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson

TOKEN = b'{"access_token":"t","expires_in":3600}'


@dataclass(slots=True)
class Planted:
    """What is answered: a body, or a function that writes one (and may never end)."""

    body: bytes | Callable[[Callable[[bytes], object]], None]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Hostile:
    """`answer` gives what is planted for the n-th request (from 0); tokens are given out as usual."""

    answer: Callable[[int], Planted]
    token: Planted = field(default_factory=lambda: Planted(TOKEN))
    base_url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request, those for tokens left out."""


def in_batch(*resources: object, status: str = "200") -> bytes:
    """The answer to a batch of reads."""
    return orjson.dumps({"entry": [{"response": {"status": status}, "resource": one} for one in resources]})


def bundle(*resources: object, following: str | None = None) -> dict[str, object]:
    """A page of a search."""
    links = [{"relation": "next", "url": following}] if following is not None else []
    return {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources], "link": links}


@contextmanager
def served(hostile: Hostile) -> Iterator[Hostile]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def do_GET(self) -> None:
            if self.path.endswith("oauth2/token"):
                return self._say(hostile.token)
            hostile.asked.append((self.command, self.path))
            return self._say(hostile.answer(len(hostile.asked) - 1))

        def _say(self, planted: Planted) -> None:
            self.send_response(planted.status)
            for name, value in planted.headers.items():
                self.send_header(name, value)
            if isinstance(planted.body, bytes):
                self.send_header("Content-Length", str(len(planted.body)))
            self.end_headers()
            try:
                if isinstance(planted.body, bytes):
                    self.wfile.write(planted.body)
                else:
                    planted.body(self.wfile.write)
            except OSError:
                pass  # the client has had enough

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        hostile.base_url = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield hostile
        finally:
            server.shutdown()
