"""The processes of a local Airflow: each component leads a session of its own, and a session ends as a whole.

Who is killed cannot end what it started, so the sessions are also written down in Airflow's folder for whoever starts
there next. A pid alone does not name a process, as it is given out again: its time of creation stands beside it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Set
from pathlib import Path

import psutil

_STOP_SECONDS = 15.0
_FILE = "sessions.json"


def remember(home: Path, leader: int) -> None:
    """Write down in `home` that the process `leader` (a pid) has begun a session."""
    _write(home, {**_remembered(home), leader: psutil.Process(leader).create_time()})


def forget(home: Path) -> None:
    """To be called when all sessions of `home` have ended."""
    (home / _FILE).unlink(missing_ok=True)


def left_behind(home: Path) -> list[psutil.Process]:
    """The processes of the sessions that are written down in `home`.

    Where the leader has died its pid proves nothing any more: then only those that say themselves that they work in
    `home`. (Not all can be asked: the API server writes its title over its environment.)
    """
    remembered = _remembered(home)
    same = {leader for leader, created in remembered.items() if _is_same(leader, created)}
    orphans = family_of(remembered.keys() - same)
    return family_of(same) + [process for process in orphans if _works_in(process, home)]


def family_of(leaders: Set[int]) -> list[psutil.Process]:
    """All processes in the sessions that `leaders` (pids) have begun, also those whose parent has died."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in leaders:
                found.append(process)
        except OSError:
            continue  # gone meanwhile
    return found


def end(family: Iterable[psutil.Process]) -> None:
    """SIGTERM, and SIGKILL for those that have not ended after 15 seconds."""
    family = list(family)
    for member in family:
        _signal(member, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, _STOP_SECONDS)
    for member in alive:
        _signal(member, signal.SIGKILL)
    psutil.wait_procs(alive, 5)


def _remembered(home: Path) -> dict[int, float]:
    """Leader's pid → its time of creation, in seconds since 1970."""
    file = home / _FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _write(home: Path, sessions: dict[int, float]) -> None:
    new = home / f"{_FILE}.new"
    new.write_text(json.dumps(list(sessions.items())), encoding="utf-8")
    new.replace(home / _FILE)  # at once: who is killed here leaves the old list or the new one


def _is_same(leader: int, created: float) -> bool:
    try:
        return psutil.Process(leader).create_time() == created
    except psutil.Error:
        return False  # gone


def _works_in(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("AIRFLOW_HOME") == str(home)
    except psutil.Error:
        return False  # gone, or somebody else's


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
