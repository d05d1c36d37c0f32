"""Starts and stops the embedded Medplum from Python."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from embedded_medplum.install import FOLDER, NODE, install

START_SECONDS = 60.0
STOP_SECONDS = 10.0


class ServerError(RuntimeError):
    """The server did not become healthy, or an admin request to it failed. Its log file says why."""


@dataclass
class EmbeddedMedplum:
    """One embedded server; a context manager that starts it and stops it (by its pid) at the end.

    Args:
        data: SQLite file that keeps the resources over restarts; None keeps them in memory only.
        port: TCP port; None picks a free one. It stays the same over `restart()`.
        host: address to listen on; anything but the loopback default exposes the server.
        quota: FHIR interaction points per window, as Medplum's `fhirInteractions`.
        quota_window: seconds of that window; Medplum's is 60.
        token_limit: requests to /oauth2 per minute.
        expires_in: life of an access token in seconds.
        transaction_bundles: the project feature of that name: real, atomic transactions.
        check_references: the project setting `checkReferencesOnWrite`.
        project_admin: the client is an admin of its project, who may set accounts.
        faults: enables `POST /faults` and `inject()`.
        base_url: the URL clients reach the server under, when it is not the address it listens on.
        log_file: where the server's output goes; None makes a temporary file.

    Attributes:
        base_url: "http://127.0.0.1:PORT/"; the FHIR base is `base_url + "fhir/R4/"`.
        client_id, client_secret: of the one client the server knows.
    """

    data: Path | None = None
    port: int | None = None
    host: str = "127.0.0.1"
    quota: int = 50_000
    quota_window: int = 60
    token_limit: int = 160
    expires_in: int = 3600
    transaction_bundles: bool = False
    check_references: bool = False
    project_admin: bool = False
    faults: bool = False
    base_url: str = ""
    log_file: Path | None = None
    client_id: str = "f54370de-eaf3-4d81-a17e-24860f667912"
    client_secret: str = "embedded-secret"
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running server; raises ServerError when it does not run."""
        if self._process is None:
            raise ServerError("the embedded Medplum is not running")
        return self._process.pid

    def start(self) -> None:
        """Installs the npm packages if need be, starts the server and waits until it is healthy (about 2 seconds)."""
        install()
        self.port = self.port or _free_port()
        self.base_url = self.base_url or f"http://{self.host}:{self.port}/"
        self.log_file = self.log_file or Path(tempfile.mkstemp(prefix="embedded-medplum-", suffix=".log")[1])
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,  # closed by the system when we die, and then the server ends too
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"MEDPLUM_CLIENT_SECRET": self.client_secret},
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Asks the server to end, and kills it when it has not after 10 seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL: what a crash leaves. With `data`, no acknowledged write is lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._forget()

    def restart(self) -> None:
        """Stops the server, if it still runs, and starts it on the same port with the same data file."""
        self.stop()
        self.start()

    def inject(self, *rules: dict[str, Any]) -> None:
        """Replaces the fault rules (see README); without arguments removes them all. Needs `faults=True`."""
        self._post("faults", {"rules": rules})

    def reset(self) -> None:
        """Makes it forget everything, as a restart does, in a millisecond and not in a second.

        Needs `faults=True`, and no `data`. Requests that are still at work end in what was before.
        """
        self._post("reset", {})

    def advance(self, seconds: float = 0.0) -> int:
        """Lets every request that an injected fault holds up go on so much sooner. Needs `faults=True`.

        Returns how many requests are at work, those too whose clients have gone.
        """
        return int(self._post("advance", {"ms": 1_000 * seconds})["at_work"])

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"http://{self._address}/{path}", json.dumps(content).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ServerError(f"/{path} was refused ({error.code}): {error.read().decode()}") from error

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _address(self) -> str:
        return f"{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"

    def _command(self) -> list[str]:
        options: dict[str, object] = {
            "port": self.port,
            "host": self.host,
            "base-url": self.base_url,
            "client-id": self.client_id,
            "quota": self.quota,
            "quota-window": self.quota_window,
            "token-limit": self.token_limit,
            "expires-in": self.expires_in,
        }
        if self.data is not None:
            options["data"] = self.data
        flags = {
            "transaction-bundles": self.transaction_bundles,
            "check-references": self.check_references,
            "project-admin": self.project_admin,
            "faults": self.faults,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        arguments += [f"--{name}" for name, on in flags.items() if on]
        return [str(NODE), "--no-warnings", str(FOLDER / "node" / "main.js"), "--watch-stdin", *arguments]

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(
                    f"the embedded Medplum ended at once (code {self._process.returncode}): {self.log_file}"
                )
            if self._is_healthy():
                return
            time.sleep(0.05)
        raise ServerError(f"the embedded Medplum was not healthy after {START_SECONDS:.0f} s: {self.log_file}")

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/healthcheck", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _forget(self) -> None:
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
