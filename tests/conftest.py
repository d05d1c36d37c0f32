"""Fixtures that all tests share: the embedded Medplum and the tiny platform."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import pytest
import sqlalchemy as sa
from xdist.remote import Producer

from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import load_migration
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from tests import tiny_platform
from tests.tls import certificate_in
from tests.workers import Units


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Units:
    """Shares the tests between several workers (`-n 2`) in our own units."""
    return Units(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses names that hold an address: no two workers would agree on them, and nothing would be run."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"Give the parameters of {item.nodeid} a name (ids=…) that is always the same.")


_connected = WeakSet[sa.Engine]()
sa.event.listen(sa.Engine, "engine_connect", lambda connection: _connected.add(connection.engine))


@pytest.fixture(autouse=True)
def _leave_no_file_open() -> Iterator[None]:
    """A process has one manifest and keeps it open; the tests have thousands, more than a system lets one process."""
    yield
    for engine in list(_connected):
        if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
            engine.dispose()  # where it is used once more, it connects anew
    _connected.clear()


@pytest.fixture(scope="session")
def shared_medplum() -> Iterator[EmbeddedMedplum]:
    """The process behind `medplum`: to start one takes a second, and hundreds of tests want one."""
    with EmbeddedMedplum(faults=True, quota=1_000_000_000) as server:
        yield server


@pytest.fixture(scope="session")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a certificate of 127.0.0.1, signed by no authority that the system knows, and of its key."""
    return certificate_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def medplum(shared_medplum: EmbeddedMedplum) -> EmbeddedMedplum:
    """An embedded Medplum that knows nothing yet, of this test's own, with faults to be had; a test may stop it."""
    if shared_medplum.running:
        shared_medplum.reset()
    else:
        shared_medplum.start()
    return shared_medplum


@pytest.fixture
def tiny(tmp_path: Path, medplum: EmbeddedMedplum) -> Environment:
    """The tiny platform in SQLite, ready to be migrated to `medplum`."""
    source = f"sqlite:///{tmp_path}/legacy.db"
    tiny_platform.fill(source)
    settings = Settings(
        source_url=source,
        medplum_base_url=medplum.base_url,
        medplum_client_id=medplum.client_id,
        medplum_client_secret=medplum.client_secret,
        manifest_url=f"sqlite:///{tmp_path}/manifest.db",
        staging_url=f"{tmp_path}/staging",
        settle_seconds=0.5,
    )
    return Environment(load_migration(tiny_platform.MIGRATION), settings)
