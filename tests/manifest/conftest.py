"""The manifest on both of its engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.manifest.database import open_manifest
from medferry.manifest.tables import metadata


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with servers.embedded() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A manifest with nothing in it."""
    if request.param == "sqlite":
        yield open_manifest(f"sqlite:///{tmp_path}/manifest.db")
        return
    engine = open_manifest(request.getfixturevalue("postgresql"))
    yield engine
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
