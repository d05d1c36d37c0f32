"""Files of the store on disk and in object storage; values that are kept."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from medferry.definition.migration import load_migration
from medferry.errors import StagingError
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from medferry.runtime.staging import StagedFileChanged, Staging, dump_row
from medferry.store.files import Store
from medferry.store.keys import Key, KeyMissing, Keyring
from medferry.store.sealed import StoredFileDamaged
from medferry.store.values import Pointer, ValueChanged, ValueMissing, ValueStore
from tests.s3 import S3Server, s3_server
from tests.tiny_platform import MIGRATION

KEYS = Keyring((Key(b"k" * 32),))
ROWS = [{"id": number, "name": "Canary" * 20} for number in range(3_000)]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture(params=["disk", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "s3":
        monkeypatch.setitem(fsspec.config.conf, "s3", server.options)  # in the place of FSSPEC_S3
        return f"s3://{server.bucket()}/area"
    return str(tmp_path / "area") if request.param == "disk" else f"memory://{tmp_path.name}"


@pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "sealed"])
def test_a_file_is_there_whole_or_not_at_all(url: str, keys: Keyring | None) -> None:
    store = Store(url, keys)
    with store.writing("r/a") as file:
        file.to.write(b"first")
    with pytest.raises(ZeroDivisionError), store.writing("r/a") as other:
        other.to.write(b"second")
        raise ZeroDivisionError
    assert store.reading("r/a").read() == b"first"
    assert store.digest("r/a") == file.digest
    filesystem, root = store.place
    assert [path.rpartition("/")[2] for path in filesystem.find(root)] == ["a"]
    store.remove("r/a")
    store.remove("r/a")
    with pytest.raises(FileNotFoundError):
        store.reading("r/a")


@pytest.mark.parametrize("umask", [0, 0o022])
def test_only_the_owner_reads_files_and_folders(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        area = tmp_path / "new" / "area"
        left = area / "r" / "rows" / "s.part"
        killed = Store(str(area)).writing("r/rows/s")
        killed.__enter__()
        left.chmod(0o666)
        with Store(str(area)).writing("r/rows/s") as file:
            file.to.write(b"x")
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"new": 0o700, "new/area": 0o700, "new/area/r": 0o700, "new/area/r/rows": 0o700,
                     "new/area/r/rows/s": 0o600}  # fmt: skip


def test_staged_files_are_encrypted_and_read(url: str) -> None:
    written = Staging(url, "r", keys=KEYS)
    assert written.write_rows("s", map(dump_row, ROWS)) == len(ROWS)
    digests = written.written
    staging = Staging(url, "r", digests.get, KEYS)
    assert [row for _, row in staging.read_rows("s")] == ROWS
    filesystem, root = Store(url).place
    assert filesystem.cat_file(f"{root}/r/rows/s.ndjson.gz")[:8] == b"MEDFERRY"
    with pytest.raises(KeyMissing):
        list(Staging(url, "r", digests.get).read_rows("s"))


def test_a_file_written_again_alike_is_the_same_file(url: str) -> None:
    """A worker that was thought dead may write what its successor has recorded."""
    first, again = Staging(url, "r", keys=KEYS), Staging(url, "r", keys=KEYS)
    first.write_rows("s", map(dump_row, ROWS))
    again.write_rows("s", map(dump_row, ROWS))
    assert len(list(Staging(url, "r", first.written.get, KEYS).read_rows("s"))) == len(ROWS)
    again.write_rows("s", map(dump_row, ROWS[1:]))
    with pytest.raises(StagedFileChanged):
        list(Staging(url, "r", first.written.get, KEYS).read_rows("s"))


def test_what_was_staged_before_there_was_a_key_is_read(url: str) -> None:
    plain = Staging(url, "r")
    plain.write_rows("s", map(dump_row, ROWS))
    assert len(list(Staging(url, "r", plain.written.get, KEYS).read_rows("s"))) == len(ROWS)


def test_the_rows_of_another_run_are_not_read(url: str) -> None:
    for run_id in ("r", "q"):
        Staging(url, run_id, keys=KEYS).write_rows("s", map(dump_row, ROWS))
    filesystem, root = Store(url).place
    filesystem.cp_file(f"{root}/q/rows/s.ndjson.gz", f"{root}/r/rows/s.ndjson.gz")
    with pytest.raises(StoredFileDamaged):
        list(Staging(url, "r", keys=KEYS).read_rows("s"))


def test_a_missing_encrypted_file_is_told_as_a_missing_plain_one(url: str) -> None:
    with pytest.raises(StagingError, match="cannot be read"):
        list(Staging(url, "r", keys=KEYS).read_rows("s"))


def test_values_lie_beside_what_is_staged_and_are_encrypted_as_it_is(tmp_path: Path) -> None:
    key = b64encode(b"k" * 32).decode()
    environment = Environment(load_migration(MIGRATION), Settings(staging_url=str(tmp_path), store_keys=key))
    pointer = environment.values.put(b"Canary")
    assert (tmp_path / pointer.name).read_bytes()[:8] == b"MEDFERRY"
    assert environment.values.get(pointer) == b"Canary"
    assert environment.staging_area.folders() == []


@pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "sealed"])
def test_values_are_kept(url: str, keys: Keyring | None) -> None:
    values = ValueStore(url, keys)
    one, other = values.put(b"Canary"), values.put(b"")
    assert (values.get(one), values.get(other)) == (b"Canary", b"")
    assert "Canary" not in repr(one)
    with pytest.raises(ValueChanged):
        values.get(Pointer(one.name, other.digest))
    values.remove(one)
    with pytest.raises(ValueMissing):
        values.get(one)
