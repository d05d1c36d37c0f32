"""Staged files under the staging URL: rows as gzipped NDJSON, FHIR Bundles as gzipped JSON, one file each.

A file appears whole or not at all (written beside its place, then moved), so a task that is killed leaves nothing that
could be mistaken for data. Names hold run and slice ids only.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import fsspec
import orjson

from medferry.errors import StagingError
from medferry.fhir.bundle import Staged, read_batch

_LEVEL = 3


@dataclass(frozen=True)
class Staging:
    """The staging area of one run."""

    url: str
    run_id: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        filesystem, root = fsspec.core.url_to_fs(self.url)
        return filesystem, f"{root.rstrip('/')}/{re.sub(r'[^A-Za-z0-9._-]', '_', self.run_id)}"

    def write_rows(self, slice_id: str, rows: Iterable[dict[str, Any]]) -> int:
        """Stage the rows of a slice; returns how many. Raises StagingError."""
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            for row in rows:
                count += 1
                yield dump_row(row) + b"\n"

        self._write(f"rows/{slice_id}.ndjson.gz", lines())
        return count

    def read_rows(self, slice_id: str) -> Iterator[dict[str, Any]]:
        """The staged rows of a slice, in order. Raises StagingError."""
        name = f"rows/{slice_id}.ndjson.gz"
        try:
            with self._open(name) as raw, gzip.GzipFile(fileobj=raw) as file:
                for line in file:
                    yield load_row(line)
                if raw.tell() == 0:
                    raise EOFError  # no rows are some bytes, too; gzip takes an empty file for no rows
        except _DAMAGED as error:
            raise _unreadable(name, error) from None

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

    def _write(self, name: str, parts: Iterable[bytes]) -> None:
        filesystem, root = self._place
        path = f"{root}/{name}"
        try:
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            # No name and no time in the gzip header: the same input gives the same bytes.
            with (
                filesystem.open(f"{path}.part", "wb") as raw,
                gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_LEVEL, mtime=0) as packed,
            ):
                for part in parts:
                    packed.write(part)
            filesystem.mv(f"{path}.part", path)
        except OSError as error:
            raise StagingError(
                f"Staging {name} failed ({type(error).__name__}, errno {error.errno}).",
                "Check space and rights of the staging URL, then run again: finished slices are kept.",
            ) from None

    def _open(self, name: str) -> BinaryIO:
        filesystem, root = self._place
        file: BinaryIO = filesystem.open(f"{root}/{name}", "rb")
        return file


_DAMAGED = (OSError, EOFError, zlib.error, ValueError)
"""How a staged file that is missing, cut off or changed shows."""


def _unreadable(name: str, error: Exception) -> StagingError:
    problem = f"The staged file {name} cannot be read ({type(error).__name__})."
    return StagingError(problem, "Check the staging URL, or start a new run: this one's staged files are incomplete.")


def dump_row(row: dict[str, Any]) -> bytes:
    """One row as JSON; lone surrogates (undecodable source bytes) are kept as escapes."""
    try:
        return orjson.dumps(row)
    except TypeError:
        return json.dumps(row).encode("ascii")


def load_row(line: bytes) -> dict[str, Any]:
    """The row that ``dump_row`` wrote."""
    try:
        row: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = json.loads(line)
    return row
