"""Staged files that are missing or damaged are told as such, never read as fewer rows."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from medferry.errors import StagingError
from medferry.fhir.bundle import batch
from medferry.runtime.staging import Staging, StagingArea, dump_row, row_digest

ROWS = [{"key": number, "text": "é" * 50} for number in range(500)]


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    made = Staging(str(tmp_path), "r")
    assert made.write_rows("s", map(dump_row, ROWS)) == len(ROWS)
    assert made.write_keys("s", ["1", "caf\udce9"]) == 2
    made.write_bundle("s", 0, batch([b'{"resource":{},"request":{"url":"Patient?identifier=a|b"}}']))
    made.write_document("s", hashlib.sha256(b"letter").hexdigest(), b"letter")
    return made


def test_a_purge_knows_every_kind_of_file_that_is_staged(staging: Staging, tmp_path: Path) -> None:
    [folder] = StagingArea(str(tmp_path)).folders()
    kinds = {name.split("/")[1] for name in folder.sizes}
    writers = [name for name in vars(Staging) if name.startswith("write_")]
    assert len(kinds) == len(writers) and folder.foreign == []  # the fixture writes one of each kind
    with pytest.raises(ValueError, match="a purge knows"):
        staging._write("notes/s.txt", [b"a note of a kind that is new"])


def test_what_was_staged_is_read_again(staging: Staging) -> None:
    assert [row for _, row in staging.read_rows("s")] == ROWS
    assert [line for line, _ in staging.read_rows("s")] == [dump_row(row) for row in ROWS]
    assert list(staging.read_keys("s")) == ["1", "caf\udce9"]
    assert [staged.name for staged in staging.read_bundle("s", 0)] == [("a", "b")]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-12]),
    "empty": lambda path: path.write_bytes(b""),
    "no gzip": lambda path: path.write_bytes(b"x" * 100),
    "a flipped bit": lambda path: path.write_bytes(path.read_bytes()[:30] + b"~~~~" + path.read_bytes()[34:]),
    "other content": lambda path: path.write_bytes(gzip.compress(b"{}{")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told(staging: Staging, tmp_path: Path, damage: str) -> None:
    for path in tmp_path.rglob("*.gz"):
        DAMAGES[damage](path)
    with pytest.raises(StagingError, match="cannot be read"):
        list(staging.read_rows("s"))
    with pytest.raises(StagingError, match="cannot be read"):
        staging.read_bundle("s", 0)
    with pytest.raises(StagingError, match="cannot be read"):
        list(staging.read_keys("s"))


def test_a_digest_is_that_of_the_row_and_of_the_version_that_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": 1, "name": None}
    digests = {row_digest(dump_row(found)) for found in (row, {**row, "name": ""}, {**row, "id": "1"})}
    monkeypatch.setattr("medferry.runtime.staging.__version__", "999")
    digests.add(row_digest(dump_row(row)))
    assert len(digests) == 4
