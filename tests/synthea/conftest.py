"""The sample, loaded once for all tests of this folder; without the archive they are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo_clinics import database
from tests.synthea.sample import ARCHIVE, Sample, load_sample


@pytest.fixture(scope="package")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    if not ARCHIVE.is_file():
        pytest.skip(f"the Synthea sample {ARCHIVE.name} is not in shared/data beside the repository")
    folder = tmp_path_factory.mktemp("synthea")
    return load_sample(folder, f"sqlite:///{folder / 'export.db'}")


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """An empty PostgreSQL database for this test alone."""
    with database.embedded() as server:
        yield server.url
