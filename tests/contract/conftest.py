"""The servers of the contract tests: the embedded one always, a live one when the environment names it.

MEDFERRY_LIVE_BASE_URL (ending in "/"), MEDFERRY_LIVE_CLIENT_ID and MEDFERRY_LIVE_CLIENT_SECRET name the live server.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from embedded_medplum import EmbeddedMedplum
from tests.contract.changes import CHANGES, shown
from tests.contract.target import Target, connect, connect_embedded

LIVE = [os.environ.get(f"MEDFERRY_LIVE_{name}", "") for name in ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET")]
PLENTY = 1_000_000_000
SERVERS = pytest.StashKey[list[Target]]()


@pytest.fixture(scope="package", params=["embedded", *(["live"] if all(LIVE) else [])])
def connection(request: pytest.FixtureRequest) -> Iterator[Target]:
    """One connection for all tests: a live server hands out 160 tokens a minute."""
    with ExitStack() as stack:
        if request.param == "live":
            target = connect("live", *LIVE)
        else:
            target = connect_embedded(stack.enter_context(EmbeddedMedplum(quota=PLENTY)))
        request.config.stash.setdefault(SERVERS, []).append(target)
        yield target
        target.http.close()


@pytest.fixture
def target(connection: Target) -> Iterator[Target]:
    """A server, with a tag of its own for each test; what carries the tag is removed, also after a failure."""
    fresh = replace(connection, tag=str(uuid.uuid4()), types={"Patient"})
    yield fresh
    fresh.clean()


@pytest.fixture
def embedded() -> Iterator[Callable[..., tuple[EmbeddedMedplum, Target]]]:
    """Starts embedded servers with settings of their own: `server, target = embedded(quota=1000)`."""
    with ExitStack() as stack:

        def start(**settings: Any) -> tuple[EmbeddedMedplum, Target]:
            server = stack.enter_context(EmbeddedMedplum(**settings))
            target = connect_embedded(server)
            stack.callback(target.http.close)
            return server, target

        yield start


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says of each server what its version does where versions differ: what its tests expected."""
    for server in config.stash.get(SERVERS, []):
        terminalreporter.section(f"Medplum {shown(server.version)} ({server.name}), where versions differ")
        for change in CHANGES:
            terminalreporter.line(f"{change.request}: {change.answer(server.version)}")
