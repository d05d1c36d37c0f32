"""Runs the real stages in child processes that can be killed, or harmed, at any step.

`main` reads one job a line (JSON) from its standard input, forks a child for it, and
answers with one line when the child has ended. The parent stays single-threaded, so forking is safe, and has imported
everything, so that a child starts at once.

A step is taken just before each commit to the manifest, each move of a staged file and each request to Medplum, and
just after each answer to a batch. Steps that change nothing durable (a read, a renewed
lease) count only with ``"every": true``.
"""

from __future__ import annotations

import errno
import gc
import gzip
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from fsspec.implementations.local import LocalFileSystem
from httpx._transports import default

from medferry.apply import writer as write
from medferry.definition.migration import load_migration
from medferry.fhir.validate import problems
from medferry.manifest import runs
from medferry.manifest.database import create_manifest
from medferry.manifest.dead_letters import Choice
from medferry.medplum.client import MedplumClient
from medferry.medplum.http import HttpSettings
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from medferry.workflows.migrate import execute_run
from medferry.workflows.replay import execute_replay
from tests import tiny_platform
from tests.faults import pace
from tests.faults.checker import TYPES

_CHANGE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE)\s+\"?(\w+)", re.IGNORECASE)


@dataclass
class Steps:
    """Counts steps, writes them to the trace, acts once, at step `at`: its number, or how its name begins."""

    trace: int
    at: int | str | None
    action: Callable[[], None]
    every: bool
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str, durable: bool = True) -> None:
        """The other threads go on meanwhile: standing still in a commit, one would keep the others from theirs."""
        if not (durable or self.every):
            return
        with self.lock:
            number, self.count = self.count, self.count + 1
            acts = number == self.at or (isinstance(self.at, str) and name.startswith(self.at))
            if acts:
                self.at = None
            self.note(f"! {name}" if acts else f"{number} {name}")
        if acts:
            self.action()
            self.note(f"{number} {name}")

    def note(self, line: str) -> None:
        os.write(self.trace, f"{line}\n".encode())


def main() -> None:
    _warm_up()
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(job)
        flag = Path(job["folder"]) / "kill" if job.get("kill_on_flag") else None
        sys.stdout.write(json.dumps({"status": _wait(child, job.get("kill_after"), flag)}) + "\n")
        sys.stdout.flush()


def _warm_up() -> None:
    """Build once what every child would build anew: FHIR models, Alembic's modules, TLS contexts (unused here).

    A child's collector need not go through all of that again, nor have its pages copied for it.
    """
    default.create_ssl_context = cache(default.create_ssl_context)
    httpx.Client().close()
    create_manifest("sqlite:///:memory:")
    for resource_type in TYPES:
        problems({"resourceType": resource_type})
    load_migration(tiny_platform.MIGRATION)
    gc.collect()
    gc.freeze()


def _wait(child: int, kill_after: float | None, flag: Path | None) -> int:
    """The child's exit code, negative for a signal; killed after so many seconds, or when the file `flag` appears."""
    if kill_after is not None or flag is not None:
        deadline = time.monotonic() + (60 if kill_after is None else kill_after)
        while time.monotonic() < deadline and not (flag and flag.exists()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _child(job: dict[str, Any]) -> None:
    """Runs the job and ends the process: 0 done, 1 a Medferry error or another, told in the log."""
    code = 1
    try:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        trace = os.open(job["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        steps = Steps(trace, job.get("at"), lambda: ACTIONS[job["do"]](Path(job["folder"])), job.get("every", False))
        _hook(steps, fast=job.get("fast", True))
        try:
            _work(job)
            code = 0
        except Exception as error:
            logging.exception("the job failed")
            steps.note(f"= {type(error).__name__}: {error}".replace("\n", " "))
    finally:
        sys.stderr.flush()
        os._exit(code)


def _work(job: dict[str, Any]) -> None:
    pace.quicken(job["pace"], job["origin"], Path(job["folder"]), job["settings"]["medplum_base_url"])
    http = HttpSettings(timeout=job["timeout"]) if "timeout" in job else HttpSettings()
    environment = Environment(load_migration(job["migration"]), Settings(**job["settings"], medplum_http=http))
    options, scope = RunOptions(**job.get("options", {})), scope_of(environment.migration, None, None)
    if job["what"] == "run":
        execute_run(environment, job["run_id"], "run", scope, options, lambda *_: None)
    elif job["what"] == "replay":
        execute_replay(environment, job["run_id"], job["replays"], Choice(), options, lambda *_: None)
    elif job["what"] == "stage":
        for one in prepare_run(environment, job["run_id"], "run", scope, options):
            extract_slice(environment, job["run_id"], one.id)
            transform_slice(environment, job["run_id"], one.id)
    elif job["what"] == "load":
        with environment.manifest.begin() as connection:
            slices = [s.id for s in runs.slices_of(connection, job["run_id"]) if s.entity == job["entity"]]
        for slice_id in slices:
            load_slice(environment, job["run_id"], slice_id)


# -- what happens at the step --------------------------------------------------------------------------


def _kill(_folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _pause(folder: Path) -> None:
    """Tell that we have come here, and wait until we may go on."""
    (folder / "paused").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)


def _hide_manifest(folder: Path) -> None:
    """Move the manifest away, under the feet of open connections, which are given up."""

    hidden = time.time()

    def give_up(_connection: object, record: Any, _proxy: object) -> None:
        if record.starttime <= hidden:
            raise sa.exc.DisconnectionError

    sa.event.listen(sa.pool.Pool, "checkout", give_up)
    for file in folder.glob("manifest.db*"):
        file.rename(folder / f"away-{file.name}")


def _fill_manifest(_folder: Path) -> None:
    """From now on SQLite refuses to let its file grow, as on a full disk (SQLITE_FULL)."""
    sa.event.listen(sa.Engine, "begin", lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1"))


def _fill_staging(_folder: Path) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    gzip.GzipFile.write = full  # type: ignore[method-assign]


ACTIONS = {
    "kill": _kill,
    "pause": _pause,
    "hide-manifest": _hide_manifest,
    "fill-manifest": _fill_manifest,
    "fill-staging": _fill_staging,
}


# -- where the steps are -------------------------------------------------------------------------------


def _hook(steps: Steps, fast: bool) -> None:
    if fast:  # no time between rounds; the quota's waits stay
        write.random.uniform = lambda *_: 0.0  # type: ignore[assignment]
    _hook_manifest(steps)
    _hook_staging(steps)
    _hook_requests(steps)


def _hook_manifest(steps: Steps) -> None:
    def changes(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if found := _CHANGE.match(statement):
            connection.info.setdefault("changed", set()).add(found[1])

    def commit(connection: sa.Connection) -> None:
        changed = connection.info.pop("changed", set()) - {"lease"}
        steps.take(f"commit {' '.join(sorted(changed))}", durable=bool(changed))

    sa.event.listen(sa.Engine, "before_cursor_execute", changes)
    sa.event.listen(sa.Engine, "commit", commit)
    sa.event.listen(sa.Engine, "rollback", lambda connection: connection.info.pop("changed", None))


def _hook_staging(steps: Steps) -> None:
    move = LocalFileSystem.mv

    def mv(self: LocalFileSystem, source: str, target: str, **options: Any) -> None:
        steps.take(f"move {target.rpartition('/')[2]}")
        move(self, source, target, **options)

    LocalFileSystem.mv = mv


def _hook_requests(steps: Steps) -> None:
    send, batch = httpx.Client.send, MedplumClient.batch

    def counted(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        path = request.url.path
        if not path.endswith("/fhir/R4/"):
            steps.take(f"request {path}", durable=False)
        return send(self, request, **options)

    def answered(self: MedplumClient, entries: Any, *more: Any, **options: Any) -> Any:
        steps.take(f"batch {len(entries)}")
        if before := options.get("before"):
            options["before"] = lambda: (before(), steps.take(f"noted {len(entries)}", durable=False))
        with pace.busy():
            outcomes = batch(self, entries, *more, **options)
        steps.take(f"answered {len(entries)}")
        return outcomes

    httpx.Client.send = counted  # type: ignore[method-assign]
    MedplumClient.batch = answered  # type: ignore[method-assign]
