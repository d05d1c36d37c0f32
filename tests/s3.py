"""An S3 server on loopback for the tests: moto behind HTTP, with faults to be had."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import fsspec
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from medferry_airflow.local import free_port

_WRONG_KEY = b"<Error><Code>InvalidAccessKeyId</Code><Message>Canary of S3</Message></Error>"
_BUSY = b"<Error><Code>InternalError</Code><Message>Canary of S3</Message></Error>"


@dataclass
class S3Server:
    """One server; what it holds outlives `stop`, until the process ends."""

    port: int = field(default_factory=free_port)
    key: str = "AKIATEST"
    """The only access key that is known; secrets are not compared."""
    secret: str = "canary-of-the-storage-secret"
    status: int = 0
    """What is answered to every request instead of what was asked for; 0: nothing is."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each, in the order of their arrival."""
    _server: BaseWSGIServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, Any]:
        """What s3fs takes; it tries a request twice only, where it would 25 times, for half a minute."""
        patience = {"retries": {"max_attempts": 1}, "connect_timeout": 5}
        return {"key": self.key, "secret": self.secret, "endpoint_url": self.url, "config_kwargs": patience}

    @property
    def filesystem(self) -> Any:
        """Another look at what is there, past the code under test."""
        return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True, **self.options)

    def start(self) -> None:
        """Nothing, where it runs."""
        if self._server is not None:
            return
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """From now on connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def bucket(self) -> str:
        """A new bucket; returns its name."""
        name = f"area-{uuid4().hex}"
        self.filesystem.mkdir(name)
        return name

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if self.status:
            return self._refuse(environ, start_response, self.status, _BUSY)
        if f"Credential={self.key}/" not in environ.get("HTTP_AUTHORIZATION", f"Credential={self.key}/"):
            return self._refuse(environ, start_response, 403, _WRONG_KEY)
        answer: Iterable[bytes] = _moto(environ, start_response)
        return answer

    def _refuse(
        self, environ: dict[str, Any], start_response: Callable[..., Any], status: int, body: bytes
    ) -> list[bytes]:
        start_response(f"{status} No", [("Content-Type", "application/xml")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


_moto = DomainDispatcherApplication(create_backend_app)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()
