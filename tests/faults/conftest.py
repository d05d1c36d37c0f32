"""Two workers for the whole folder, a server a module, a world a test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded_medplum.server import EmbeddedMedplum
from tests.faults.simulator import Nursery, World

SEEDS = int(os.environ.get("MEDFERRY_FAULT_SEEDS", "12"))
"""Random simulations; from 100 on this is the long run."""

LONG = SEEDS >= 100


@pytest.fixture(scope="package")
def nurseries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Nursery]]:
    folder = tmp_path_factory.mktemp("nurseries")
    with Nursery(folder / "1.log") as one, Nursery(folder / "2.log") as two:
        yield [one, two]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMedplum]:
    folder = tmp_path_factory.mktemp("server")
    with EmbeddedMedplum(
        faults=True, quota=1_000_000_000, log_file=folder / "server.log", token_limit=10**9
    ) as medplum:
        yield medplum


@pytest.fixture
def make_world(tmp_path: Path, server: EmbeddedMedplum, nurseries: list[Nursery]) -> Iterator[Callable[..., World]]:
    """Makes worlds on the module's server; injected faults end with the test."""

    def make(server: EmbeddedMedplum = server, **fields: Any) -> World:
        return World(tmp_path, server, nurseries[0], **fields)

    yield make
    server.inject()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
