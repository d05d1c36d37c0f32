"""Staged files under the staging URL: rows as gzipped NDJSON, FHIR Bundles as gzipped JSON, one file each.

They lie in the protected store (``store``): encrypted where there is a key, whole or not at all, so that a task that is
killed leaves nothing that could be mistaken for data. Names hold run and slice ids only.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any, cast

import orjson

from medferry import __version__
from medferry.errors import MedferryError, StagingError
from medferry.fhir.bundle import Staged, read_batch
from medferry.source.types.canonical import as_streamed
from medferry.store.files import Reader, Store
from medferry.store.keys import Keyring

log = logging.getLogger(__name__)

_LEVEL = 3
_BUFFER = 1 << 16
"""Bytes; lines go into gzip by the buffer, not one by one."""
_PART_BYTES = 1 << 18
_BYTES = b'{"base64":'
"""In no line without bytes: a text has its quotes escaped."""
_MARKER = "medferry.json"


_STAGED = re.compile(
    r"[^/]+/((rows|unchanged)/[^/]+\.ndjson|bundles/[^/]+/\d{6,}\.json|documents/[^/]+/[0-9a-f]{64})\.gz(\.part)?"
)
"""Every file that a run stages, below the staging URL: another is not written, and a folder with one is not purged."""


@dataclass(frozen=True, slots=True)
class StagedFolder:
    """The folder of a run, with the bytes of each file by its name below the staging URL."""

    name: str
    sizes: Mapping[str, int]

    @property
    def foreign(self) -> list[str]:
        """Files that no run has staged."""
        return [name for name in self.sizes if not _STAGED.fullmatch(name)]


@dataclass(frozen=True)
class StagingArea:
    """Where the runs of one manifest stage their files; a small file in it says of which manifest.

    Where that is an object store, its errors are raised, too (``store.place``).
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @cached_property
    def _store(self) -> Store:
        return Store(self.url, None, self.options)

    def folders(self) -> list[StagedFolder]:
        """What runs have staged, in the order of the folders' names. Raises StagingError."""
        try:
            return [
                StagedFolder(name, self._store.sizes(name)) for name in self._store.folders() if name == folder_of(name)
            ]
        except OSError as error:
            raise _unreadable("folders", error) from None

    def remove(self, folder: StagedFolder) -> None:
        """Remove its files. Raises StagingError."""
        try:
            self._store.remove_folder(folder.name, folder.sizes)
        except OSError as error:
            raise StagingError(
                f"Not all of {folder.name} could be removed ({type(error).__name__}, errno {error.errno}).",
                "Check the rights of the staging URL, then purge again.",
            ) from None

    def owner(self) -> str:
        """The id of the manifest that the area belongs to; empty: of none yet. Raises StagingError."""
        try:
            return str(orjson.loads(self._store.reading(_MARKER).read())["manifest"])
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(_MARKER, error) from None

    def claim(self, manifest_id: str) -> None:
        """Say that the area belongs to a manifest. Raises StagingError."""
        try:
            with self._store.writing(_MARKER) as file:
                file.to.write(orjson.dumps({"manifest": manifest_id}))
        except OSError as error:
            raise _unwritten(_MARKER, error) from None


class StagedFileChanged(StagingError):
    """A staged file is not what was staged."""


@dataclass(frozen=True)
class Staging:
    """The staged files of one run. `digest_of` tells what a file must be: its digest by name, None: not known.

    All that is read raises StoredFileDamaged, KeyMissing or WrongKey, too, where it is encrypted; whatever is done
    in an object store raises StoreUnavailable, StoreRefused and BucketMissing.
    """

    url: str
    run_id: str
    digest_of: Callable[[str], str | None] = lambda _: None
    keys: Keyring | None = field(default=None)
    written: dict[str, str] = field(default_factory=dict)
    """Name → digest of what was written by this object (SHA-256, keyed with a key): to be recorded with the stage."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @cached_property
    def _store(self) -> Store:
        return Store(self.url, self.keys, self.options)

    def _place(self, name: str) -> str:
        return f"{folder_of(self.run_id)}/{name}"

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

    def discard_rows(self, slice_id: str) -> None:
        """Have the rows of a slice no more; what cannot be removed now is left to `medferry purge`."""
        for kind in ("rows", "unchanged"):
            try:
                self._store.remove(self._place(f"{kind}/{slice_id}.ndjson.gz"))
            except (OSError, MedferryError) as error:
                log.warning("Rows of %s could not be removed (%s).", slice_id, type(error).__name__)

    def write_bundle(self, slice_id: str, number: int, bundle: bytes) -> None:
        """Stage one Bundle as a person may open and POST it. Raises StagingError."""
        self._write(f"bundles/{slice_id}/{number:06d}.json.gz", [bundle])

    def read_bundle(self, slice_id: str, number: int) -> list[Staged]:
        """Raises StagingError when the Bundle is missing or damaged."""
        name = f"bundles/{slice_id}/{number:06d}.json.gz"
        try:
            with closing(self._open(name)) as raw:
                return list(read_batch(gzip.decompress(raw.read())))
        except _DAMAGED as error:
            raise _unreadable(name, error) from None

    def write_document(self, slice_id: str, digest: str, content: bytes) -> None:
        """Stage the bytes of a document that is too large for a Bundle. Raises StagingError."""
        self._write(f"documents/{slice_id}/{digest}.gz", [content])

    def read_document(self, slice_id: str, digest: str) -> Iterator[bytes]:
        """The bytes of a document, in parts. Raises StagingError when they are missing or damaged."""
        name = f"documents/{slice_id}/{digest}.gz"
        try:
            with closing(self._open(name)) as raw, gzip.GzipFile(fileobj=cast(IO[bytes], raw)) as file:
                while part := file.read(_PART_BYTES):
                    yield part
        except _DAMAGED as error:
            raise _unreadable(name, error) from None

    def document_size(self, slice_id: str, digest: str) -> int:
        """The number of a document's bytes. Raises StagingError."""
        return sum(len(part) for part in self.read_document(slice_id, digest))

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
            with closing(self._open(name)) as raw, gzip.GzipFile(fileobj=cast(IO[bytes], raw)) as file:
                for line in file:
                    yield line[:-1], load_row(line)
                if raw.tell() == 0:
                    raise EOFError  # no lines are some bytes, too; gzip takes an empty file for none
        except _DAMAGED as error:
            raise _unreadable(name, error) from None

    def _write(self, name: str, parts: Iterable[bytes]) -> None:
        """Raises ValueError for what a purge would take for somebody else's: it would keep it, with patients' data."""
        place = self._place(name)
        if not _STAGED.fullmatch(place):
            raise ValueError("a staged file is of a kind that a purge knows")
        try:
            with self._store.writing(place) as file:
                # No name and no time in the gzip header: the same input gives the same bytes.
                out = cast(IO[bytes], file.to)
                with (
                    gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=_LEVEL, mtime=0) as packed,
                    io.BufferedWriter(cast(io.RawIOBase, packed), _BUFFER) as buffered,
                ):
                    buffered.writelines(parts)
        except OSError as error:
            raise _unwritten(name, error) from None
        self.written[name] = file.digest

    def _open(self, name: str) -> Reader:
        """Raises StagedFileChanged before anything of it is used."""
        expected = self.digest_of(name)
        if expected is not None and self._store.digest(self._place(name)) != expected:
            raise StagedFileChanged(
                f"The staged file {name} of run {self.run_id} is not what was staged: somebody else has written it.",
                "Give each manifest a staging URL of its own, then start a new run.",
            )
        return self._store.reading(self._place(name))


def folder_of(run_id: str) -> str:
    """The name of a run's folder in the staging area; of two ids that differ in odd characters alone, the same."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", run_id)


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
