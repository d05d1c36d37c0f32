"""The manifest's database gone, the disk full: the run stops with an error, and goes on later without repair."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database
from tests.faults.simulator import World

OPTIONS = {"lanes": 1, "batch_size": 10}
TROUBLES = {
    "hide-manifest": ((1, 10, 29, 37, 62), "ManifestUnavailable: The manifest database does not answer", "has space"),
    "fill-manifest": ((1, 10, 29, 37, 62), "ManifestUnavailable: The manifest database does not answer", "has space"),
    "fill-staging": ((1, 3, 10, 25), "StagingError: Staging ", "Check space"),
}
"""Trouble → the steps before which it comes (spread over extract, transform, load), what is told, what is advised."""


@pytest.mark.parametrize(("trouble", "step"), [(name, step) for name in TROUBLES for step in TROUBLES[name][0]])
def test_the_run_stops_and_goes_on(trouble: str, step: int, world: World) -> None:
    ended = world.do(at=step, do=trouble, options=OPTIONS)
    restore(world.folder)
    assert ended.status == 1
    _, told, advised = TROUBLES[trouble]
    assert ended.error.startswith(told) and advised in ended.error
    again = world.do(options=OPTIONS)
    assert (again.status, again.error) == (0, "")
    assert world.problems() == []


def restore(folder: Path) -> None:
    away = list(folder.glob("away-*"))
    for file in folder.glob("manifest.db*") if away else []:
        file.unlink()
    for file in away:
        file.rename(folder / file.name.removeprefix("away-"))


def test_a_postgresql_manifest_stopped_in_mid_run(tmp_path: Path, make_world: Callable[..., World]) -> None:
    with ExitStack() as running:
        place = tmp_path / "postgresql"
        url = running.enter_context(database.embedded(place)).url
        world = make_world(manifest_url=url)
        with world.paused(30, options=OPTIONS) as ended:
            running.close()
        assert ended[0].status == 1
        assert ended[0].error.startswith("ManifestUnavailable: The manifest database does not answer")
        running.enter_context(database.embedded(place, sa.make_url(url).port))
        assert world.do(options=OPTIONS).status == 0
        assert world.problems() == []
