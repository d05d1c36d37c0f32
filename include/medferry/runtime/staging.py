"""Staged files under the staging URL: rows as gzipped NDJSON, FHIR Bundles as gzipped JSON, one file each.

A file appears whole or not at all (written beside its place, then moved), so a task that is killed leaves nothing that
could be mistaken for data. Names hold run and slice ids only.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import fsspec
import orjson

from medferry import __version__
from medferry.errors import StagingError
from medferry.fhir.bundle import Staged, read_batch
from medferry.source.types.canonical import as_streamed

_LEVEL = 3
_BYTES = b'{"base64":'
"""In no line without bytes: a text has its quotes escaped."""
_MARKER = "medferry.json"


@dataclass(frozen=True)
class StagingArea:
    """Where the runs of one manifest stage their files; a small file in it says of which manifest."""

    url: str

    @cached_property
    def place(self) -> tuple[Any, str]:
        """File system and root, which ends without a slash."""
        filesystem, root = fsspec.core.url_to_fs(self.url)
        return filesystem, root.rstrip("/")

    def owner(self) -> str:
        """The id of the manifest that the area belongs to; empty: of none yet. Raises StagingError."""
        filesystem, root = self.place
        try:
            with filesystem.open(f"{root}/{_MARKER}", "rb") as file:
                return str(orjson.loads(file.read())["manifest"])
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(_MARKER, error) from None

    def claim(self, manifest_id: str) -> None:
        """Say that the area belongs to a manifest. Raises StagingError."""
        filesystem, root = self.place
        try:
            filesystem.makedirs(root, exist_ok=True)
            with filesystem.open(f"{root}/{_MARKER}.part", "wb") as file:
                file.write(orjson.dumps({"manifest": manifest_id}))
            filesystem.mv(f"{root}/{_MARKER}.part", f"{root}/{_MARKER}")
        except OSError as error:
            raise _unwritten(_MARKER, error) from None


class StagedFileChanged(StagingError):
    """A staged file is not what was staged."""


@dataclass(frozen=True)
class Staging:
    """The staged files of one run. `digest_of` tells what a file must be: SHA-256 by name, None: not known."""

    url: str
    run_id: str
    digest_of: Callable[[str], str | None] = lambda _: None
    written: dict[str, str] = field(default_factory=dict)
    """Name → SHA-256 of what was written by this object: to be recorded with the stage."""

    @cached_property
    def _place(self) -> tuple[Any, str]:
        filesystem, root = StagingArea(self.url).place
        return filesystem, f"{root}/{re.sub(r'[^A-Za-z0-9._-]', '_', self.run_id)}"

    def write_rows(self, slice_id: str, rows: Iterable[bytes]) -> int:
        """Stage the rows of a slice, as ``dump_row`` made them; returns how many. Raises StagingError."""
        return self._write_lines(f"rows/{slice_id}.ndjson.gz", rows)

    def read_rows(self, slice_id: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """The staged rows of a slice, in order: each as it was written, and read. Raises StagingError."""
        return self._read_lines(f"rows/{slice_id}.ndjson.gz")

    def write_keys(self, slice_id: str, keys: Iterable[str]) -> int:
        """Name the records of a slice that need no work; returns how many. Raises StagingError."""
        return self._write_lines(f"unchanged/{slice_id}.ndjson.gz", map(dump_row, keys))

    def read_keys(self, slice_id: str) -> Iterator[str]:
        """The keys of the records that need no work, in order. Raises StagingError."""
        return (key for _, key in self._read_lines(f"unchanged/{slice_id}.ndjson.gz"))

    def write_bundle(self, slice_id: str, number: int, bundle: bytes) -> None:
        """Stage one Bundle as a person may open and POST it. Raises StagingError."""
        self._write(f"bundles/{slice_id}/{number:06d}.json.gz", [bundle])

    def read_bundle(self, slice_id: str, number: int) -> list[Staged]:
        """Raises StagingError when the Bundle is missing or damaged."""
        name = f"bundles/{slice_id}/{number:06d}.json.gz"
        try:
            with self._open(name) as raw:
                return list(read_batch(gzip.decompress(raw.read())))
        except _DAMAGED as error:
            raise _unreadable(name, error) from None

    def _write_lines(self, name: str, lines: Iterable[bytes]) -> int:
        count = 0

        def counted() -> Iterator[bytes]:
            nonlocal count
            for line in lines:
                count += 1
                yield line + b"\n"

        self._write(name, counted())
        return count

    def _read_lines(self, name: str) -> Iterator[tuple[bytes, Any]]:
        try:
            with self._open(name) as raw, gzip.GzipFile(fileobj=raw) as file:
                for line in file:
                    yield line[:-1], load_row(line)
                if raw.tell() == 0:
                    raise EOFError  # no lines are some bytes, too; gzip takes an empty file for none
        except _DAMAGED as error:
            raise _unreadable(name, error) from None

    def _write(self, name: str, parts: Iterable[bytes]) -> None:
        filesystem, root = self._place
        path = f"{root}/{name}"
        try:
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            # No name and no time in the gzip header: the same input gives the same bytes.
            with filesystem.open(f"{path}.part", "wb") as file:
                raw = _Digesting(file)
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_LEVEL, mtime=0) as packed:
                    for part in parts:
                        packed.write(part)
            filesystem.mv(f"{path}.part", path)
        except OSError as error:
            raise _unwritten(name, error) from None
        self.written[name] = raw.digest.hexdigest()

    def _open(self, name: str) -> BinaryIO:
        """Raises StagedFileChanged before anything of it is used."""
        filesystem, root = self._place
        expected = self.digest_of(name)
        file: BinaryIO = filesystem.open(f"{root}/{name}", "rb")
        if expected is not None and _digest(file) != expected:
            file.close()
            raise StagedFileChanged(
                f"The staged file {name} of run {self.run_id} is not what was staged: somebody else has written it.",
                "Give each manifest a staging URL of its own, then start a new run.",
            )
        file.seek(0)
        return file


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


class _Digesting:
    """A file to write to, and the digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


_DAMAGED = (OSError, EOFError, zlib.error, ValueError)
"""How a staged file that is missing, cut off or changed shows."""


def _unwritten(name: str, error: OSError) -> StagingError:
    return StagingError(
        f"Staging {name} failed ({type(error).__name__}, errno {error.errno}).",
        "Check space and rights of the staging URL, then run again: finished slices are kept.",
    )


def _unreadable(name: str, error: Exception) -> StagingError:
    problem = f"The staged file {name} cannot be read ({type(error).__name__})."
    return StagingError(problem, "Check the staging URL, or start a new run: this one's staged files are incomplete.")


def dump_row(row: Any) -> bytes:
    """One row as JSON; lone surrogates (undecodable source bytes) are kept as escapes."""
    try:
        return orjson.dumps(row)
    except TypeError:
        return json.dumps(row, separators=(",", ":")).encode("ascii")


def load_row(line: bytes) -> Any:
    """The row that ``dump_row`` wrote. Raises ValueError for a line that is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = json.loads(line)
    return as_streamed(row) if _BYTES in line else row


def row_digest(line: bytes) -> str:
    """SHA-256 of a row as ``dump_row`` made it, and of Medferry's version: another may read the same row otherwise."""
    return hashlib.sha256(b"%s\0%s" % (__version__.encode(), line)).hexdigest()
