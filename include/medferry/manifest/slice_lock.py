"""One live worker a slice. The fence keeps a stale worker out of the manifest; this keeps it from sending to Medplum.

The lock is the worker's own: PostgreSQL ends it with the worker's connection, the operating system with its file. So a
killed worker blocks nobody, and one that is only slow is not doubled.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from medferry.errors import TransientError


class SliceBusy(TransientError):
    """Another worker, still alive, has the slice."""


@contextmanager
def only_worker(manifest: sa.Engine, run_id: str, slice_id: str) -> Iterator[None]:
    """Hold a slice until the end of the block. Raises SliceBusy when a living worker has it."""
    name = hashlib.sha256(f"{run_id}/{slice_id}".encode()).digest()
    hold = _advisory_lock if manifest.dialect.name == "postgresql" else _file_lock
    with hold(manifest, name) as held:
        if not held:
            raise SliceBusy(
                f"Slice {slice_id} of run {run_id} is at work in another process.",
                "Nothing, if that one goes on; else end it, then try again.",
            )
        yield


@contextmanager
def _advisory_lock(manifest: sa.Engine, name: bytes) -> Iterator[bool]:
    number = int.from_bytes(name[:8], "big", signed=True)
    with manifest.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        held = bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(number))))
        try:
            yield held
        except BaseException:
            connection.invalidate()  # closed, which ends the lock: it would outlive the worker in the pool
            raise
        if held:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))


@contextmanager
def _file_lock(manifest: sa.Engine, name: bytes) -> Iterator[bool]:
    database = Path(str(manifest.url.database))
    folder = database.with_name(f"workers-of-{database.name}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name.hex()[:32]).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
