"""What an application's OpenFeature client makes of the file, by the in-process flagd provider; the docs' example."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from medferry.cutover.routing import ALL_OTHER, Route, Routing, Writes
from medferry.cutover.routing_file import publish
from medferry.fhir.sides import Side
from tests.cutover.routed_clients import FlagdFile

UNITS = ("north", "south", "7", "true")
RUNBOOK = Path(__file__).resolve().parents[2] / "docs/runbooks/routing.md"


def at(epoch: int) -> Routing:
    side = Side.MEDPLUM if epoch % 2 else Side.LEGACY
    routes = [Route(unit=unit, domain=ALL_OTHER, reads=side, writes=Writes(side), epoch=epoch) for unit in UNITS]
    return Routing.of("tiny", routes)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "routing.json"
    publish(path, lambda: at(0))
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(path), deadline_ms=50)
    api.set_provider_and_wait(provider)
    yield path
    api.shutdown()


def route(unit: str | None) -> Any:
    context = EvaluationContext(attributes={} if unit is None else {"unit": unit})
    return api.get_client().get_object_value("medferry.tiny.all-other", {}, context)


def test_each_unit_has_its_route_and_nobody_else(path: Path) -> None:
    for unit in UNITS:
        assert route(unit) == {"reads": "legacy", "writes": "legacy", "epoch": 0}
    for stranger in ("west", "", None, ":unknown"):
        assert route(stranger) == {"reads": "nobody", "writes": "nobody", "epoch": 0}
    clients = [FlagdFile(path, "tiny", ALL_OTHER, unit) for unit in (*UNITS, "west")]
    assert [client() for client in clients] == ["legacy"] * 4 + ["nobody"]


def test_a_replaced_file_is_seen(path: Path) -> None:
    publish(path, lambda: at(1))
    patience = time.monotonic() + 60
    while route("north")["writes"] != "medplum":
        assert time.monotonic() < patience
        time.sleep(0.02)
    assert route("south") == {"reads": "medplum", "writes": "medplum", "epoch": 1}


def test_the_example_of_the_runbook_runs(path: Path) -> None:
    """As it stands there: written where the route says, refused once, then by the new route."""
    [code] = re.findall(r"```python\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    code = code.replace("/srv/medferry/routing.json", str(path)).replace("medferry.clinics.", "medferry.tiny.")
    names: dict[str, Any] = {}
    exec(compile(code, str(RUNBOOK), "exec"), names)
    waited: list[float] = []

    def flipped_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        publish(path, lambda: at(1))
        time.sleep(0.02)

    names["time"] = SimpleNamespace(sleep=flipped_meanwhile)
    written: list[str] = []

    def to_legacy(value: str) -> None:
        raise names["Refused"]

    systems = {"legacy": to_legacy, "medplum": written.append}
    names["write"]("north", systems, "a value")
    assert written == ["a value"] and waited
