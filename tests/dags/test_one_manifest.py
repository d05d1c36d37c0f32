"""Airflow's tasks and the command line keep one ledger."""

from __future__ import annotations

import pytest

from medferry.errors import SettingsError
from medferry_airflow.tasks.environment import require_one_manifest


@pytest.mark.parametrize(
    ("url", "problem"), [("", "is not set"), ("sqlite:///build/manifest.db", "is a relative path")]
)
def test_a_manifest_that_each_process_would_find_elsewhere_is_refused(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"MEDFERRY_MANIFEST_URL {problem}: .* second ledger"):
        require_one_manifest(url)


@pytest.mark.parametrize("url", ["sqlite:////var/lib/manifest.db", "postgresql://manifest@db/manifest"])
def test_one_that_all_find_is_taken(url: str) -> None:
    require_one_manifest(url)
