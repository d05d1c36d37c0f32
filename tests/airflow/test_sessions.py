"""What a killed starter leaves behind is found and ended, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from medferry_airflow import sessions
from medferry_airflow.local import LocalAirflow

ROOT = Path(__file__).resolve().parents[2]

_COMPONENT = """
import os, subprocess, sys, time
import setproctitle
os.environ["PADDING"] = "x" * 500
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
setproctitle.setproctitle("airflow api-server")
print(worker.pid, flush=True)
time.sleep(300)
"""
"""As Airflow's API server does: a title written over the environment, and a worker."""


@pytest.fixture
def component(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A component's leader, and its worker."""
    leader = subprocess.Popen(
        [sys.executable, "-c", _COMPONENT],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )
    assert leader.stdout
    worker = psutil.Process(int(leader.stdout.readline()))
    while not worker.environ():
        time.sleep(0.01)  # a program that has just begun shows none yet
    yield leader, worker
    sessions.end(sessions.family_of({leader.pid}))
    leader.wait()
    leader.stdout.close()


Component = tuple[subprocess.Popen[str], psutil.Process]


def pids(found: list[psutil.Process]) -> set[int]:
    return {process.pid for process in found}


def test_a_remembered_session_is_ended_whole_though_it_hides_its_environment(
    component: Component, tmp_path: Path
) -> None:
    leader, worker = component
    assert "AIRFLOW_HOME" not in psutil.Process(leader.pid).environ()
    assert sessions.left_behind(tmp_path) == []
    sessions.remember(tmp_path, leader.pid)
    found = sessions.left_behind(tmp_path)
    assert pids(found) == {leader.pid, worker.pid}
    sessions.end(found)
    assert not psutil.pid_exists(leader.pid) and not worker.is_running()
    assert sessions.left_behind(tmp_path) == []


def test_a_process_that_has_got_the_pid_of_another_is_left_alone(component: Component, tmp_path: Path) -> None:
    leader, _ = component
    home = tmp_path / "another"
    home.mkdir()
    sessions.remember(home, leader.pid)
    assert pids(sessions.left_behind(home)) >= {leader.pid}
    [[pid, created]] = json.loads((home / "sessions.json").read_text())
    (home / "sessions.json").write_text(json.dumps([[pid, created - 0.01]]))
    assert sessions.left_behind(home) == []


def test_of_a_session_without_its_leader_only_those_are_ended_that_name_the_folder(
    component: Component, tmp_path: Path
) -> None:
    leader, worker = component
    sessions.remember(tmp_path, leader.pid)
    leader.kill()
    leader.wait()
    assert pids(sessions.left_behind(tmp_path)) == {worker.pid}
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "sessions.json").rename(other / "sessions.json")
    assert sessions.left_behind(other) == []


_STARTER = """
import sys, time
from pathlib import Path
from medferry_airflow.local import LocalAirflow
with LocalAirflow(Path(sys.argv[1])) as airflow:
    print(*airflow.pids.values(), flush=True)
    time.sleep(600)
"""


@pytest.mark.airflow
@pytest.mark.timeout(400)
def test_a_real_airflow_whose_starter_was_killed_is_ended_by_the_next(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'include'}:{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER, home], env=environment, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        leaders = {int(pid) for pid in starter.stdout.readline().split()}
        starter.kill()
    left = sessions.family_of(leaders)
    assert len(leaders) == 4 and pids(left) >= leaders
    with LocalAirflow(home) as airflow:
        assert [process for process in left if process.is_running()] == []
        assert set(airflow.pids.values()).isdisjoint(leaders)
        mine = set(airflow.pids.values())
    assert sessions.family_of(mine | leaders) == []
    assert not (home / "sessions.json").exists()
