"""Whenever a run is killed, no file below the staging folder holds a name that can be read without the key."""

from __future__ import annotations

import random
import stat
import zlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from medferry.store.sealed import MAGIC
from tests.faults.checker import CANARY
from tests.faults.conftest import LONG, SEEDS
from tests.faults.simulator import World

KEY = b"\xfbk" * 16
MARKER = "medferry.json"
STEPS = 32
"""The first of a run: most of them are taken while it stages."""


def readable(content: bytes) -> bytes:
    """A file as it is, and what can be unpacked of it, however it was cut off."""
    unpacked = b""
    for start in range(len(content)):
        if content[start : start + 2] == b"\x1f\x8b":
            try:
                unpacked += zlib.decompressobj(31).decompress(content[start:])
            except zlib.error:
                continue
    return content + unpacked


def files_of(world: World) -> list[Path]:
    return [path for path in world.staging.rglob("*") if path.is_file() and path.name != MARKER]


def told(world: World) -> list[str]:
    """What is wrong with what a run has left below its staging folder."""
    found = []
    for path in files_of(world):
        content = path.read_bytes()
        if content[: len(MAGIC)] != MAGIC[: len(content)]:
            found.append(f"{path.name} is not encrypted")
        if CANARY.encode() in readable(content):
            found.append(f"{path.name} holds a name")
    for path in world.staging.rglob("*"):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            found.append(f"others may read {path.name}")
    return found


@pytest.mark.parametrize("seed", range(SEEDS if LONG else 2))
def test_a_run_that_is_killed_leaves_nothing_that_can_be_read(make_world: Callable[..., World], seed: int) -> None:
    dice = random.Random(seed)
    world = make_world(key=b64encode(KEY).decode())
    seen = 0
    for _ in range(4):
        ended = world.do(at=dice.randrange(STEPS), do="kill", options={"slice_rows": dice.choice([4, 10, 5_000])}
                         if not seen else {})  # fmt: skip
        assert told(world) == []
        seen += len(files_of(world))
        if not ended.killed:
            break
    assert seen, "nothing was staged: nothing was looked at"
    ended = world.do()
    assert (ended.status, ended.error, world.problems()) == (0, "", [])
    assert files_of(world) == []
    logs = b"".join(path.read_bytes() for path in world.scene().logs if path.exists())
    assert b64encode(KEY) not in logs
    assert KEY.hex().encode() not in logs


def test_the_look_sees_what_is_staged_without_a_key(world: World) -> None:
    world.do(at="batch", do="kill")
    found = told(world)
    assert any("is not encrypted" in one for one in found)
    assert any("holds a name" in one for one in found)
    assert not any("others may read" in one for one in found)
    files_of(world)[0].chmod(0o644)
    assert any("others may read" in one for one in told(world))
