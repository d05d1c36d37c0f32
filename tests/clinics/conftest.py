"""What the tests of the clinics' migration share: the migration itself and a legacy database without rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from demo_clinics.schema import METADATA
from medferry.definition.migration import Migration, load_migration
from medferry.source.database import connect_engine


@pytest.fixture(scope="package")
def migration() -> Migration:
    return load_migration("clinics")


@pytest.fixture
def empty_legacy() -> Iterator[sa.Connection]:
    """The legacy schema on SQLite, in memory."""
    engine = connect_engine("sqlite://")
    with engine.connect() as connection:
        METADATA.create_all(connection)
        yield connection
    engine.dispose()
