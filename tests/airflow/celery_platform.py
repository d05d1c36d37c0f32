"""An Airflow on Celery: two workers that share nothing on a disk but the code, in processes of one machine.

Each worker has a name, a home and a folder for temporary files of its own; what they have in common are servers:
PostgreSQL (Airflow's own database, the manifest, the legacy database), Redis, an S3 server and Medplum.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from demo_clinics import database
from embedded_medplum.server import EmbeddedMedplum
from medferry.medplum.client import MedplumClient
from medferry_airflow import sessions
from medferry_airflow.local import ROOT, LocalAirflow, free_port, on_postgresql
from tests import tiny_platform
from tests.s3 import S3Server, s3_server

HOST = "MEDFERRY_TEST_HOST"
_START_SECONDS = 60.0


def host_name() -> str:
    """What Airflow calls the machine of a process (``core.hostname_callable``)."""
    return os.environ.get(HOST, "elsewhere")


@dataclass
class Worker:
    """One ``airflow celery worker``, which stands for a machine."""

    name: str
    home: Path
    environment: dict[str, str]
    concurrency: int = 2
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        for folder in (self.home / "tmp", self.home / "logs"):
            folder.mkdir(parents=True)
        own = {
            HOST: self.name,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "TMPDIR": str(self.home / "tmp"),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "include"), str(ROOT)]),
        }
        options = ["--celery-hostname", f"worker@{self.name}", "--concurrency", str(self.concurrency)]
        with (self.home / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "celery", "worker", "--skip-serve-logs", *options],
                env={**self.environment, **own},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """As a power cut does: every process of it at once, none is asked."""
        assert self.process is not None
        for member in sessions.family_of({self.process.pid}):
            member.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            sessions.end(sessions.family_of({self.process.pid}))
            self.process.wait()


@dataclass
class CeleryPlatform:
    """Airflow, its workers by name, and the systems that they reach."""

    airflow: LocalAirflow
    workers: dict[str, Worker]
    medplum: EmbeddedMedplum
    s3: S3Server
    bucket: str

    def client(self) -> MedplumClient:
        """Of Medplum, to be used as a context manager."""
        return MedplumClient(self.medplum.base_url, self.medplum.client_id, self.medplum.client_secret)

    def hosts(self, dag_id: str, run_id: str) -> dict[tuple[str, int], str]:
        """(task id, map index or -1) → the worker of its last try."""
        assert self.airflow.api is not None
        found = self.airflow.api.request("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=200)
        return {(one["task_id"], one["map_index"]): one["hostname"] for one in found["task_instances"]}

    def tries(self, dag_id: str, run_id: str, task: str, index: int) -> list[str]:
        """The workers of a task instance's tries, in their order."""
        assert self.airflow.api is not None
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/{index}/tries"
        found = self.airflow.api.request("GET", path)["task_instances"]
        return [one["hostname"] for one in sorted(found, key=lambda one: one["try_number"])]

    def log_lines(self, dag_id: str, run_id: str) -> list[str]:
        """Of all tasks of a run, on whichever worker they were."""
        place = f"logs/dag_id={dag_id}/run_id={run_id}"
        found = [path for worker in self.workers.values() for path in (worker.home / place).rglob("*.log")]
        return [line for path in found for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def celery_platform(folder: Path) -> Iterator[CeleryPlatform]:
    """Raises servers.BinariesMissing. Needs `redis-server`."""
    with ExitStack() as stack:
        server = stack.enter_context(database.embedded())
        airflow_url, manifest_url, legacy_url = (database.another(server.url, name) for name in ("af", "ma", "le"))
        tiny_platform.fill(legacy_url)
        broker = stack.enter_context(redis_server(folder / "redis"))
        s3 = stack.enter_context(s3_server())
        medplum = stack.enter_context(EmbeddedMedplum(faults=True, log_file=folder / "medplum.log"))
        bucket = s3.bucket()
        environment = _environment(broker, airflow_url, legacy_url, manifest_url, medplum)
        environment |= _object_store(s3, bucket)
        airflow = stack.enter_context(LocalAirflow(folder / "airflow", environment))
        workers = {name: Worker(name, folder / name, airflow.environment) for name in ("first", "second")}
        for worker in workers.values():
            stack.callback(worker.stop)
            worker.start()
        yield CeleryPlatform(airflow, workers, medplum, s3, bucket)


def _object_store(s3: S3Server, bucket: str) -> dict[str, str]:
    key = secrets.token_bytes(32)
    store = {"conn_type": "generic", "password": b64encode(key).decode(), "extra": json.dumps(s3.options)}
    return {
        "MEDFERRY_STAGING_URL": f"s3://{bucket}/staging",
        "MEDFERRY_REPORT_FOLDER": f"s3://{bucket}/reports",
        "AIRFLOW_CONN_MEDFERRY_STORE": json.dumps(store),
    }


def _environment(
    broker: str, airflow_url: str, legacy_url: str, manifest_url: str, medplum: EmbeddedMedplum
) -> dict[str, str]:
    results = sa.make_url(airflow_url).set(drivername="db+postgresql+psycopg2").render_as_string(hide_password=False)
    target = {"host": medplum.base_url, "login": medplum.client_id, "password": medplum.client_secret}
    return {
        **on_postgresql(airflow_url),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": f"{__name__}.host_name",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": results,
        # A tenth of what is usual: a worker that is dead is given up after half a minute, not after five.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
        "AIRFLOW_CONN_LEGACY_TINY": legacy_url.replace("postgresql+psycopg://", "postgres://"),
        "AIRFLOW_CONN_MEDPLUM_DEFAULT": json.dumps({"conn_type": "medplum", **target}),
        "MEDFERRY_MIGRATION": str(tiny_platform.MIGRATION),
        "MEDFERRY_MANIFEST_URL": manifest_url,
        "MEDFERRY_SETTLE_SECONDS": "5",
    }


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a Redis on loopback, which asks for a password and keeps nothing. Needs Debian's redis-server."""
    program, password, port = shutil.which("redis-server"), secrets.token_hex(16), free_port()
    assert program is not None
    folder.mkdir(parents=True)
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([*command, "--requirepass", password], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(port) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
