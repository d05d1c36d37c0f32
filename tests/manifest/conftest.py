"""The manifest on both of its engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.tables import metadata


@pytest.fixture(scope="package")
def postgresql() -> Iterator[str]:
    with servers.embedded() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A manifest with nothing in it."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/manifest.db" if sqlite else request.getfixturevalue("postgresql")
    create_manifest(url)
    engine = open_manifest(url)
    yield engine
    if sqlite:
        return
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
