"""The last test of the folder: it takes the scheduler away. What is left over would fail the fixture's own check."""

from __future__ import annotations

import os
import signal

import pytest

from medferry_airflow.local import LocalAirflow, LocalAirflowError

pytestmark = pytest.mark.airflow


def test_whoever_waits_is_told_which_component_died_and_why(airflow: LocalAirflow) -> None:
    airflow.check()
    os.kill(airflow.pids["scheduler"], signal.SIGKILL)
    with pytest.raises(LocalAirflowError, match=r"scheduler ended with code -9.*\n.*scheduler\.log"):
        airflow.wait("wave_pilot", airflow.trigger("wave_pilot"), 60)
