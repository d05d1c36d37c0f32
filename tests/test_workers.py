"""The units in which workers share the tests, and that the folders named there exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers import HEAVY, SEEDED, WHOLE, unit_of

TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/airflow/test_runs.py::test_one", "heavy"),
        ("tests/demo/test_demo.py::test_two[a/b::c]", "heavy"),
        ("tests/source/test_keys.py::test_three", "source"),
        ("tests/faults/test_kills.py::test_four[x]", "tests/faults/test_kills.py"),
        ("tests/faults/test_random.py::test_four[39]", "tests/faults/test_random.py[1]"),
        ("tests/faults/test_random.py::test_four[40]", "tests/faults/test_random.py[2]"),
        ("tests/simulator/test_simulator.py::test_four[3]", "tests/simulator/test_simulator.py[3]"),
        ("tests/source/test_keys.py::test_four[3]", "source"),
        ("tests/test_docs.py::test_five[docs/a.md]", "tests/test_docs.py"),
    ],
)
def test_what_stays_together(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid) == unit


@pytest.mark.parametrize("folder", [*HEAVY, *WHOLE, *SEEDED])
def test_a_folder_that_is_named_has_tests(folder: str) -> None:
    assert list((TESTS / folder).glob("test_*.py"))


def test_a_real_airflow_is_started_by_the_heavy_unit_only() -> None:
    files = [file for file in TESTS.rglob("test_*.py") if "mark.airflow" in file.read_text(encoding="utf-8")]
    assert {file.parent.name for file in files if file != Path(__file__)} <= set(HEAVY)
