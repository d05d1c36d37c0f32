"""A complete Airflow on this machine, for development, the demo and the tests: ``python -m medferry_airflow.local``.

API server, scheduler (LocalExecutor), DAG processor and triggerer, all on loopback; everything they write is below one
folder. Its own database is SQLite there, which one writer locks for all others: enough for a look. Whoever relies on it
gives it a PostgreSQL (`on_postgresql`), as the demo and the tests do.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import httpx
import sqlalchemy as sa
import typer

from medferry_airflow import sessions
from medferry_airflow.names import AIRFLOW
from medferry_airflow.rest import AirflowApi

ROOT = Path(__file__).resolve().parents[2]
USER = "admin"

_START_SECONDS = 120.0
_COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
"""Log servers are not needed, as all see the same files, and would listen on every interface."""


class LocalAirflowError(RuntimeError):
    """A component of the local Airflow did not start, or died; the message holds the end of its log."""


class LocalAirflow:
    """One local Airflow; a context manager that starts it and stops it, with all its processes, at the end.

    Args:
        home: its AIRFLOW_HOME, made when missing; logs are below ``home/logs``.
        environment: added to that of its processes (connections, MEDFERRY_* and AIRFLOW__* settings).
        port: of the UI and the API, on 127.0.0.1; None picks a free one.
    """

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None, port: int | None = None) -> None:
        self.home = home.resolve()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._given = dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._secret = secrets.token_urlsafe(48)
        self.api: AirflowApi | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- start and stop ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start all components and wait until they are healthy (20 to 40 seconds). Raises LocalAirflowError."""
        self.logs.mkdir(parents=True, exist_ok=True)
        sessions.end(sessions.left_behind(self.home))
        sessions.forget(self.home)
        self._keep_password()
        try:
            self._migrate_database()
            for name, command in _COMPONENTS.items():
                self._processes[name] = self._spawn(name, command)
            self._wait_until_healthy()
            self.api = AirflowApi(self.url, USER, self.password, self.check)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask every process that was started here to end, and kill those that have not after 15 seconds."""
        if self.api is not None:
            self.api.close()
            self.api = None
        server = self._processes.pop("api-server", None)
        _end(list(self._processes.values()))
        self._processes.clear()
        _end([server] if server else [])  # last: the others tell it how they end
        sessions.forget(self.home)

    def check(self) -> None:
        """Raises LocalAirflowError when a component has died."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise LocalAirflowError(f"Airflow's {name} ended with code {process.returncode}.\n{self._tail(name)}")

    # -- use ---------------------------------------------------------------------------------------

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def password(self) -> str:
        """Of the user ``admin``; kept in ``home/passwords.json``, readable by the owner only."""
        return str(json.loads(self._passwords.read_text(encoding="utf-8"))[USER])

    @property
    def pids(self) -> dict[str, int]:
        """Component → process id."""
        return {name: process.pid for name, process in self._processes.items()}

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run; returns the id of the DAG run."""
        return self._ready.trigger(dag_id, conf)

    def wait(self, dag_id: str, run_id: str, timeout: float = 600) -> str:
        """The run's final state, "success" or "failed"."""
        return self._ready.wait(dag_id, run_id, timeout)

    def task_states(self, dag_id: str, run_id: str) -> dict[tuple[str, int], str | None]:
        """(task id, map index or -1) → state."""
        return self._ready.task_states(dag_id, run_id)

    def cli(self, *arguments: str) -> str:
        """Run an ``airflow`` command in this Airflow's environment; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalAirflowError(
                f"airflow {' '.join(arguments)} ended with {done.returncode}.\n{done.stderr[-3000:]}"
            )
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """What every process of this Airflow gets."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        path = os.pathsep.join(filter(None, [str(ROOT / "include"), inherited.get("PYTHONPATH", "")]))
        return {**inherited, "PYTHONPATH": path, **self._settings(), **self._given}

    def _settings(self) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "16",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__MAX_MAP_LENGTH": "10000",
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "5",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",  # of 30 s each task spends all where others use the machine
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}?timeout=60",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secret,
            **self._own_account(),
        }

    def _own_account(self) -> dict[str, str]:
        """By which the tasks note verdicts, as soon as there is a password."""
        if not self._passwords.exists():
            return {}
        account = {"conn_type": "http", "host": self.url, "login": USER, "password": self.password}
        return {f"AIRFLOW_CONN_{AIRFLOW.upper()}": json.dumps(account)}

    # -- parts -------------------------------------------------------------------------------------

    @property
    def _ready(self) -> AirflowApi:
        if self.api is None:
            raise LocalAirflowError("The local Airflow does not run.")
        return self.api

    @property
    def _passwords(self) -> Path:
        return self.home / "passwords.json"

    def _keep_password(self) -> None:
        if not self._passwords.exists():
            self._passwords.touch(mode=0o600)
            self._passwords.write_text(json.dumps({USER: secrets.token_urlsafe(9)}), encoding="utf-8")

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command],
                env=self.environment,
                cwd=ROOT,  # the defaults of Medferry's settings are relative to it
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        sessions.remember(self.home, process.pid)
        return process

    def _migrate_database(self) -> None:
        process = self._spawn("db-migrate", ["db", "migrate"])
        try:
            code = process.wait(_START_SECONDS)
        except BaseException:
            process.kill()
            raise
        if code:
            raise LocalAirflowError(f"airflow db migrate ended with code {code}.\n{self._tail('db-migrate')}")

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while (sick := self._sick()) and time.monotonic() < deadline:
            self.check()
            time.sleep(0.3)
        if sick:
            raise LocalAirflowError(
                f"Airflow's {', '.join(sick)} not healthy after {_START_SECONDS:.0f} s: {self.logs}"
            )

    def _sick(self) -> list[str]:
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=10).json()
        except (httpx.HTTPError, ValueError):
            return ["api-server"]
        needed = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return [name for name in needed if (health.get(name) or {}).get("status") != "healthy"]

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
        return "\n".join([f"The end of {self._log(name)}:", *lines])


def on_postgresql(url: str) -> dict[str, str]:
    """The environment of an Airflow whose own database is the one of this SQLAlchemy URL."""
    driver = sa.make_url(url).set(drivername="postgresql+psycopg2")  # the one that Airflow is tested with
    return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": driver.render_as_string(hide_password=False)}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes with all their descendants, these too when a process of theirs has died already."""
    sessions.end(sessions.family_of({process.pid for process in processes}))
    for process in processes:
        process.wait()


def main(
    home: Annotated[Path, typer.Option(help="Airflow's folder.")] = ROOT / "build" / "airflow",
    port: Annotated[int | None, typer.Option(help="Port of the UI on 127.0.0.1; a free one unless given.")] = None,
) -> None:
    """Start a local Airflow and keep it running until interrupted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    typer.echo("Starting Airflow …")
    with LocalAirflow(home, port=port) as airflow:
        typer.echo(f"Airflow:  {airflow.url}\nUser:     {USER}\nPassword: {airflow.password}\nLogs:     {airflow.logs}")
        typer.echo("Stop it with Ctrl-C.")
        try:
            while True:
                airflow.check()
                time.sleep(2)
        except KeyboardInterrupt:
            typer.echo("Stopping …")


if __name__ == "__main__":
    typer.run(main)
