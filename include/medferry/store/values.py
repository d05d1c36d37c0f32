"""Values kept for a person to decide about, such as both sides of a conflict: the manifest has their pointers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from medferry.errors import MedferryError
from medferry.store.files import Store
from medferry.store.keys import Keyring
from medferry.store.place import without_account

FOLDER = "@values"
"""Below the staging URL; no run's folder can be called so."""

_OWN = re.compile(rf"{FOLDER}/[0-9a-f]{{2}}/[0-9a-f]{{32}}(\.part)?")


class ValueMissing(MedferryError):
    """A value that was kept is not in the store any more."""


class ValueChanged(MedferryError):
    """A kept value is not what was kept."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a value is, and what it must be; both may stand in the manifest: they tell nothing of the value."""

    name: str
    digest: str
    """SHA-256; keyed where there is a key, so that nobody can try values until one fits."""


@dataclass(frozen=True)
class ValueStore:
    """Values below `url`, encrypted where there is a key, each in a file of its own that is never written again.

    Every method raises OSError and what else the `Store` does.
    """

    url: str
    keys: Keyring | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @cached_property
    def _store(self) -> Store:
        return Store(self.url, self.keys, self.options)

    def put(self, value: bytes) -> Pointer:
        """Keep a value; when this returns, it is stored."""
        one = uuid.uuid4().hex
        name = f"{FOLDER}/{one[:2]}/{one}"
        with self._store.writing(name) as file:
            file.to.write(value)
        return Pointer(name, file.digest)

    def get(self, pointer: Pointer) -> bytes:
        """The value. Raises ValueMissing, ValueChanged; KeyMissing, WrongKey, StoredFileDamaged."""
        try:
            reader = self._store.reading(pointer.name)
        except FileNotFoundError:
            raise ValueMissing(
                f"The value {pointer.name} is not in the store {without_account(self.url)}.",
                "Correct MEDFERRY_STAGING_URL; if it was purged, decide by the two systems as they are.",
            ) from None
        try:
            digest, value = reader.new_digest(), reader.read()
        finally:
            reader.close()
        digest.update(value)
        if digest.hexdigest() != pointer.digest:
            raise ValueChanged(
                f"The value {pointer.name} in the store {without_account(self.url)} is not what was kept.",
                "Look who else writes there; decide by the two systems as they are.",
            )
        return value

    def size(self, pointer: Pointer) -> int:
        """Bytes of a value as it lies there; 0 when it is gone."""
        return sum(self._store.sizes(pointer.name).values())

    def left_behind(self, known: Callable[[], Collection[str]], before: datetime) -> dict[str, int]:
        """Bytes of each file that no pointer of `known` names, written before a time: a kill came before its pointer.

        `known` is asked after the files: a value that was kept before them has its pointer then, or never.
        """
        there = self._store.sizes(FOLDER)
        strange = sorted(name for name in there.keys() - {*known()} if _OWN.fullmatch(name))
        return {name: there[name] for name in strange if (at := self._store.modified(name)) and at < before}

    def remove_left_behind(self, names: Collection[str]) -> None:
        """Have none of these files."""
        for name in names:  # the folders stay: somebody may be about to write there
            self._store.remove(name)

    def remove(self, pointer: Pointer) -> None:
        """Have no value there; nothing when it is gone already."""
        self._store.remove(pointer.name)
