"""The fingerprint of a migration: one digest over every file that can change what its rows become.

These are all files of its folder, whatever they are called, since a mapping may read any, the local modules that its
mappings import, with their data; of installed packages that they import, name and version. Left out are caches,
repositories and what editors leave beside a file, and the plan's sections for people: to tick a training makes no row
another.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

from medferry.errors import DefinitionError
from medferry.plan.rows import text_of_rows

PLAN = "plan.yaml"
"""Of this file the sections for people are left out: no row becomes anything else by them."""

EXAMPLES = "examples"
"""The folder of what `medferry test` tries: no run reads it."""

_LEFT_OUT = (
    *("__pycache__", "*.pyc", "*.pyo", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints"),
    *(".git", ".hg", ".svn", ".idea", ".vscode", ".DS_Store", "Thumbs.db"),
    *("*~", ".#*", "#*#", ".*.sw[a-p]", "4913", ".nfs*"),
)
"""Names of files and folders that no mapping reads, and that come and go by themselves."""

_NOT_MEANT = re.compile("|".join(translate(pattern) for pattern in _LEFT_OUT))

_SETTLED_SECONDS = 2.0
"""A file that was changed so shortly before may be changed again with no other time on it."""

_LOOKS, _LOOK_SECONDS = 4, 0.25
"""A deployment replaces files one after the other: what differs is looked at again before it counts."""

_Facts = tuple[str, int, int, int, int]
"""Name, time of change of content and of all else, size, inode."""


@dataclass(frozen=True)
class DefinitionFiles:
    """The files of a migration: its `folder`, and by name the `modules` (file or folder) that its mappings import.

    `packages` are the installed distributions that they import.
    """

    folder: Path
    modules: Mapping[str, Path] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    _known: dict[tuple[_Facts, ...], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fingerprint(self) -> str:
        """SHA-256 of names and contents, and of versions, as they are now; read again only when a file looks changed.

        Raises DefinitionError for a file that cannot be read.
        """
        found = list(self._files())
        facts = tuple(_facts(name, path) for name, path in found)
        versions = [(name, _version(name)) for name in self.packages]
        facts += tuple((f"{name} {version}", 0, 0, 0, 0) for name, version in versions)
        if facts not in self._known:
            digest = _digest(found, versions)
            newest = max((max(changed, all_else) for _, changed, all_else, _, _ in facts), default=0)
            if time.time() - newest / 1e9 < _SETTLED_SECONDS:
                return digest
            self._known[facts] = digest
        return self._known[facts]

    def still_are(self, fingerprint: str) -> bool:
        """Whether the files are those of `fingerprint` now. Takes a moment where they are not."""
        for look in range(_LOOKS):
            if look:
                time.sleep(_LOOK_SECONDS)
            try:
                if self.fingerprint() == fingerprint:
                    return True
            except DefinitionError:
                continue  # gone while it was read
        return False

    def _files(self) -> Iterator[tuple[str, Path]]:
        own = _walk("", self.folder, ())
        yield from (named for named in own if not named[0].startswith(f"{EXAMPLES}/"))
        for name, path in sorted(self.modules.items()):
            yield from _walk(f"{name}:/", path, ()) if path.is_dir() else [(f"{name}:", path)]


def _walk(prefix: str, folder: Path, above: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """(name, path) of every file, in the order of names; links are followed, but never into a folder that is above."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None
    for entry in entries:
        if _NOT_MEANT.match(entry.name):
            continue
        name, path = f"{prefix}{entry.name}", Path(entry.path)
        if entry.is_dir():
            yield from _walk(f"{name}/", path, (*above, here))
        elif entry.is_file() or entry.is_symlink():
            yield name, path


def _facts(name: str, path: Path) -> _Facts:
    try:
        found = path.stat() if path.exists() else path.lstat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return name, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _digest(files: list[tuple[str, Path]], versions: list[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, path in files:
        content = _content_of_plan(path) if name == PLAN else _content(path)
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + content + b"\0")
    for name, version in versions:
        digest.update(f"{name}=={version}\0".encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    """Of an installed distribution as it is on the disk now; empty: it is there no more."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _content_of_plan(path: Path) -> bytes:
    """SHA-256 of what of a plan can change what rows become."""
    try:
        return hashlib.sha256(text_of_rows(path.read_bytes().decode()).encode()).digest()
    except (OSError, UnicodeError):
        return _content(path)


def _content(path: Path) -> bytes:
    """SHA-256 of a file; of a link that leads nowhere, where it leads."""
    try:
        if not path.exists():
            return b"-> " + os.fsencode(path.readlink())
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DefinitionError:
    return DefinitionError(path, None, f"it cannot be read ({error.strerror}).", "Correct its rights, or remove it.")
