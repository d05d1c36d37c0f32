"""What a simulation works on: a tiny platform with canaries, a manifest, a staging area, a server, a worker."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

from embedded_medplum.server import EmbeddedMedplum
from tests import tiny_platform
from tests.faults.checker import CANARY, Scene, problems

ROOT = Path(__file__).resolve().parents[2]
BATCH = {"method": "POST", "path": "/fhir/R4/?$", "entries": "writes"}
SEARCH = {"method": "POST", "path": "_search"}
LOOKUP = {"method": "POST", "path": "/fhir/R4/?$", "entries": "reads"}
SETTLE_SECONDS = 0.5
"""How long a batch without an answer may be at work here; a fault that holds one longer sets its own."""

_START = "from tests.faults import pace; pace.begin(); from tests.faults.worker import main; main()"

_numbers = count(1)


class Nursery:
    """A worker process (see ``worker``); runs one job at a time."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("ab")
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'include'}:{ROOT}", "PATH": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def run(self, job: dict[str, Any]) -> int:
        """The exit code of the job's process, negative for a signal."""
        assert self._process.stdin and self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            return int(json.loads(self._process.stdout.readline())["status"])


@dataclass(frozen=True)
class Ended:
    """How a job ended: exit code, the steps it took, the error it told ("" for none)."""

    status: int
    steps: list[str]
    error: str

    @property
    def killed(self) -> bool:
        return self.status == -9

    @property
    def sent(self) -> int:
        """Entries of all batches sent."""
        return sum(int(step.split()[-1]) for step in self.steps if step.split()[1] == "batch" and step[0] != "!")


@dataclass
class World:
    """One migration of its own name and identifiers, so that many can share a server."""

    folder: Path
    server: EmbeddedMedplum
    nursery: Nursery
    manifest_url: str = ""
    key: str = ""
    """Of the protected store; without it, rows and Bundles are staged in plain text."""
    pace: float = 1.0
    """How much faster time goes for its workers (see ``pace``): their seconds are simulated ones."""
    origin: float = field(default_factory=time.time)
    name: str = field(default_factory=lambda: f"tiny{next(_numbers)}")
    _jobs: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.folder = self.folder / self.name
        self.folder.mkdir()
        self.manifest_url = self.manifest_url or f"sqlite:///{self.folder}/manifest.db"
        self._write_migration()
        tiny_platform.fill(f"sqlite:///{self.source}")
        self.change("UPDATE patient SET family = ? || family", (CANARY,))
        self.change("UPDATE staff SET family = ? || family", (CANARY,))

    @property
    def source(self) -> Path:
        return self.folder / "legacy.db"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    @property
    def migration(self) -> Path:
        return self.folder / "migration"

    @property
    def base(self) -> str:
        return f"https://{self.name}.example/legacy"

    def _write_migration(self) -> None:
        shutil.copytree(tiny_platform.MIGRATION, self.migration, ignore=shutil.ignore_patterns("__pycache__"))
        plan = self.migration / "plan.yaml"
        text = plan.read_text(encoding="utf-8").replace("name: tiny", f"name: {self.name}")
        plan.write_text(text.replace("https://tiny.example/legacy", self.base), encoding="utf-8")

    def change(self, sql: str, *rows: tuple[object, ...]) -> None:
        """Change the legacy database: one statement for each of `rows`, all in one transaction."""
        with sqlite3.connect(self.source) as legacy:
            legacy.executemany(sql, rows)
        legacy.close()

    def scene(self) -> Scene:
        """For the checker."""
        assert self.server.log_file
        manifest = self.manifest_url.removeprefix("sqlite:///")
        logs = (self.server.log_file, *self.folder.glob("*.log"), *self.folder.glob("*.trace"))
        client = (self.server.base_url, self.server.client_id, self.server.client_secret)
        return Scene(*client, self.source, manifest, self.name, self.base, logs)

    def problems(self, run_id: str = "r", replayed: str = "") -> list[str]:
        return problems(self.scene(), run_id, replayed)

    def do(self, what: str = "run", run_id: str = "r", nursery: Nursery | None = None, **job: Any) -> Ended:
        """Run a job to its end, whatever that is."""
        number = next(self._jobs)
        trace = self.folder / f"{number}.trace"
        server = self.server
        settings = {
            "source_url": f"sqlite:///{self.source}",
            "medplum_base_url": job.pop("base_url", server.base_url),
            "medplum_client_id": server.client_id,
            "medplum_client_secret": job.pop("secret", server.client_secret),
            "manifest_url": self.manifest_url,
            "staging_url": f"{self.staging}",
            "store_keys": self.key,
            "settle_seconds": job.pop("settle", SETTLE_SECONDS),
        }
        common = {"what": what, "run_id": run_id, "migration": str(self.migration), "settings": settings}
        common |= {"pace": self.pace, "origin": self.origin}
        files = {"folder": str(self.folder), "log": f"{self.folder}/{number}.log", "trace": str(trace)}
        status = (nursery or self.nursery).run({**common, **files, **job})
        lines = trace.read_text().splitlines() if trace.exists() else []
        errors = [line[2:] for line in lines if line.startswith("= ")]
        return Ended(status, [line for line in lines if not line.startswith("= ")], "".join(errors))

    @contextmanager
    def meanwhile(self, **job: Any) -> Iterator[list[Ended]]:
        """A job at work for the length of the block; its end is in the list afterwards."""
        ended: list[Ended] = []
        thread = threading.Thread(target=lambda: ended.append(self.do(**job)))
        thread.start()
        try:
            yield ended
        finally:
            thread.join()

    @contextmanager
    def paused(self, at: int | str, **job: Any) -> Iterator[list[Ended]]:
        """A job that stands still at step `at` for the length of the block; its end is in the list afterwards."""
        ended: list[Ended] = []
        thread = threading.Thread(target=lambda: ended.append(self.do(at=at, do="pause", **job)))
        thread.start()
        deadline = time.monotonic() + 60
        while not (self.folder / "paused").exists():
            assert thread.is_alive() and time.monotonic() < deadline, "the job never came to its step"
            time.sleep(0.01)
        try:
            yield ended
        finally:
            (self.folder / "go").touch()
            thread.join()
            for flag in ("paused", "go"):
                (self.folder / flag).unlink()
