"""Whatever happens, both sides are equal at the end where the policy says so; nothing is lost, doubled or hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOT = Path(__file__).resolve().parents[2]
SEEDS = int(os.environ.get("MEDFERRY_SIMULATIONS", "200"))
LONG = SEEDS >= 1_000
PARTS = 20 if LONG else 2
pytestmark = [] if LONG else pytest.mark.timeout(1_500)  # `make faults` gives hours; a minute or two on an idle machine
PROGRAMS, STEP = 968, 4 if LONG else 483


def run(*arguments: object) -> None:
    """Run the simulator to its end; what it tells is the failure."""
    run_module("tests.simulator", *arguments)


def run_module(module: str, *arguments: object) -> None:
    """The same of a program of its own."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    paths = {"PYTHONPATH": f"{ROOT / 'include'}:{ROOT}"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | paths, text=True, **pipes) as process:
        told, errors = process.communicate()
    assert (process.returncode, told) == (0, ""), told + errors
    assert list(MEMORY.glob(f"medferry-simulator-{process.pid}-*")) == [], "a folder is left in memory"


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_the_end_is_right(part: int) -> None:
    run("seeds", part, SEEDS, PARTS)


def test_what_users_create_gets_one_row() -> None:
    run("births", 0, SEEDS // 5)


@pytest.mark.parametrize("first", range(4 if LONG else 1))
def test_two_writers_on_two_keys_and_a_kill_at_every_point(first: int) -> None:
    run("programs", first, PROGRAMS, STEP)


def test_every_planted_fault_is_found() -> None:
    run("planted")
