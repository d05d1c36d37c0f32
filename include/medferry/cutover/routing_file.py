"""The routing's file: replaced by one rename, on the disk before it counts, by one process at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from medferry.cutover.flagd import flag_definitions, routing_in
from medferry.cutover.routing import Routing, replaced
from medferry.errors import SettingsError, TransientError

PATIENCE_SECONDS = 20.0
"""For another process that publishes: it looks at the gates once and writes a small file."""

NEWER_BY_NS = 10_000_000
"""More than the steps in which any file system in use counts."""


class RoutingBusy(TransientError):
    """Another process publishes the routing now. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is in the file now, and whether it was another before."""

    routing: Routing
    changed: bool


def read_routing(path: Path) -> Routing | None:
    """What is published; None where there is no file. Raises ForeignRouting, SettingsError."""
    try:
        return routing_in(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from None


def publish(path: Path, decide: Callable[[], Routing], patience: float = PATIENCE_SECONDS) -> Published:
    """Write what `decide` finds, unless the file says so already; a crash leaves the file as it was, or new.

    `decide` is called while nobody else can publish, so that what is written last was found last.
    Raises what it raises; StaleRouting, ForeignRouting, RoutingBusy, SettingsError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path, patience):
            present = read_routing(path)
            routing = replaced(present, decide())
            if present is not routing:
                _replace(path, flag_definitions(routing))
    except OSError as error:
        raise _unusable(path, error) from None
    return Published(routing, changed=present is not routing)


def _replace(path: Path, content: bytes) -> None:
    """One that died left at most a file of this name, which the next one writes over."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), 0o644)  # no patient data; applications of other accounts read it
        os.fsync(file.fileno())
    _make_newer(new, path)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make_newer(new: Path, old: Path) -> None:
    """Readers look for a later time of change, and the clock may have been set back since the last one."""
    with suppress(FileNotFoundError):
        earliest = old.stat().st_mtime_ns + NEWER_BY_NS
        if new.stat().st_mtime_ns < earliest:
            os.utime(new, ns=(earliest, earliest))


@contextmanager
def _locked(path: Path, patience: float) -> Iterator[None]:
    """A lock that dies with its process. Raises RoutingBusy."""
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise RoutingBusy("Another process publishes the routing.", "Try again.") from None
                time.sleep(0.05)
        yield


def _unusable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"The routing's file {path} cannot be used ({type(error).__name__}).",
        "Check MEDFERRY_ROUTING_FILE, and the rights of its folder.",
    )
