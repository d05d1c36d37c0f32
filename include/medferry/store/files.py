"""Files below an fsspec URL, encrypted where there is a key; on a local disk for their owner alone (0600, 0700).

A file appears whole or not at all: it is written beside its place, then moved. In an object store, too: who is stopped
by an error while he writes must close the file, and what is closed is there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from fsspec.implementations.local import LocalFileSystem

from medferry.store.keys import Keyring
from medferry.store.place import OBJECT_STORES, open_place, protocol_of
from medferry.store.sealed import MAGIC, SealedReader, SealedWriter

BLOCK = 1 << 20
"""How much of a file is read at once, in bytes."""

_PART = 8 << 20
"""Bytes of an upload's part, and of what is read ahead: s3fs takes 50 MiB unless told. S3 allows 10,000 parts."""


class Digest(Protocol):
    """What hashlib and hmac have in common."""

    def update(self, content: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Reader(Protocol):
    """A stored file that is open to be read from its beginning, once."""

    def read(self, size: int = -1, /) -> bytes: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...
    def new_digest(self) -> Digest: ...


class PlainReader:
    """A file as it is."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self.close = file.read, file.tell, file.close

    def new_digest(self) -> Digest:
        return hashlib.sha256()


class PlainWriter:
    """Writes as it is told."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self.flush = file, hashlib.sha256(), file.flush

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        return self._file.write(content)

    def finish(self) -> str:
        return self._digest.hexdigest()


@dataclass
class Writing:
    """A file at work; `digest` is known when it is complete."""

    to: PlainWriter | SealedWriter
    digest: str = ""


@dataclass(frozen=True)
class Store:
    """The files below `url`. Names are relative to it, with slashes; an encrypted file can be read under its own only.

    Every method raises OSError as a local file system does. Of any other: FileNotFoundError, StoreUnavailable,
    StoreRefused, BucketMissing, and SettingsError where its package is missing.
    """

    url: str
    keys: Keyring | None = field(default=None)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    """What the object store's package is given: credentials, address."""

    @cached_property
    def place(self) -> tuple[Any, str]:
        """File system and root, which ends without a slash."""
        return open_place(self.url, self.options)

    @property
    def _is_object_store(self) -> bool:
        return protocol_of(self.url) in OBJECT_STORES

    @contextmanager
    def writing(self, name: str) -> Iterator[Writing]:
        """A file in whose place the former one is until all is written; if that fails, it stays."""
        filesystem, root = self.place
        path = f"{root}/{name}"
        part = f"{path}.part"
        self._make_folder(Path(path).parent)
        try:
            with self._new(part) as file:
                writing = Writing(SealedWriter(file, self.keys.newest, name) if self.keys else PlainWriter(file))
                yield writing
                writing.digest = writing.to.finish()
            self._move(part, path)
        except BaseException:
            with suppress(Exception):
                filesystem.rm(part)
            raise

    def reading(self, name: str) -> Reader:
        """Raises FileNotFoundError; KeyMissing, WrongKey, StoredFileDamaged for an encrypted file.

        One that was stored before there was a key is read as it is: that it is the same, its digest tells.
        """
        filesystem, root = self.place
        file: BinaryIO = filesystem.open(f"{root}/{name}", "rb", **self._blocks)
        try:
            sealed = file.read(len(MAGIC)) == MAGIC
            file.seek(0)
            return SealedReader(file, self.keys, name) if sealed else PlainReader(file)
        except BaseException:
            file.close()
            raise

    def digest(self, name: str) -> str:
        """The digest of a file's content, as `Writing` told it. Raises what `reading` and its reader raise."""
        reader = self.reading(name)
        try:
            digest = reader.new_digest()
            while block := reader.read(BLOCK):
                digest.update(block)
        finally:
            reader.close()
        return digest.hexdigest()

    def folders(self) -> list[str]:
        """The names of the folders at the root, in order."""
        filesystem, root = self.place
        filesystem.invalidate_cache()
        try:
            found = filesystem.ls(root, detail=True)
        except FileNotFoundError:
            return []
        return sorted(one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory")

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file below a folder, by its name in the store, with its bytes."""
        filesystem, root = self.place
        found = filesystem.find(f"{root}/{folder}", detail=True)
        return {path[len(root) + 1 :]: int(one["size"] or 0) for path, one in found.items()}

    def modified(self, name: str) -> datetime | None:
        """When a file was written, by the clock of where it lies, in UTC; None: it is gone."""
        filesystem, root = self.place
        try:
            found: datetime = filesystem.modified(f"{root}/{name}")
        except FileNotFoundError:
            return None
        return found.replace(tzinfo=found.tzinfo or UTC)

    def remove_folder(self, folder: str, names: Iterable[str]) -> None:
        """Remove files of a folder, and what is empty then; a file that came meanwhile stays."""
        filesystem, root = self.place
        for name in names:
            with suppress(FileNotFoundError):
                filesystem.rm(f"{root}/{name}")
        if isinstance(filesystem, LocalFileSystem):
            place = Path(root, folder)
            for path in sorted((place, *place.rglob("*/")), reverse=True):
                with suppress(OSError):
                    path.rmdir()

    def remove(self, name: str) -> None:
        """Have no such file, nor what a killed worker has left of one."""
        filesystem, root = self.place
        for path in (f"{root}/{name}", f"{root}/{name}.part"):
            with suppress(FileNotFoundError):
                filesystem.rm(path)

    @property
    def _blocks(self) -> dict[str, int]:
        return {"block_size": _PART} if self._is_object_store else {}

    def _move(self, part: str, path: str) -> None:
        filesystem, _ = self.place
        if not self._is_object_store:
            filesystem.mv(part, path)
            return
        filesystem.cp_file(part, path)  # `mv` also looks twice for a folder of that name
        filesystem.rm_file(part)

    def _make_folder(self, path: Path) -> None:
        """With those above it; each that is new is for its owner alone."""
        filesystem, _ = self.place
        if self._is_object_store:
            return
        if not isinstance(filesystem, LocalFileSystem):
            filesystem.makedirs(path.as_posix(), exist_ok=True)
        elif not path.is_dir():
            self._make_folder(path.parent)
            path.mkdir(0o700, exist_ok=True)

    def _new(self, path: str) -> BinaryIO:
        filesystem, _ = self.place
        if not isinstance(filesystem, LocalFileSystem):
            file: BinaryIO = filesystem.open(path, "wb", **self._blocks)
            return file
        Path(path).unlink(missing_ok=True)  # of a worker that was killed, perhaps under another umask
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
