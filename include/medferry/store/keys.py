"""The keys that protect stored files: where they come from, which one writes, which ones still read.

A key is 32 random bytes in base64 (``openssl rand -base64 32``). Several stand behind each other, the newest last: it
writes, and all of them read. Nothing here ever shows a key: errors tell its place, and its id, which is a digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import shlex
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from medferry.errors import MedferryError

KEY_BYTES = 32
_COMMAND_SECONDS = 60
STORE_KEY, EVIDENCE_KEY, PEPPER = "MEDFERRY_STORE_KEY", "MEDFERRY_EVIDENCE_KEY", "MEDFERRY_PEPPER"
"""Of what: the names of the variables begin so."""
_CONNECTIONS = {STORE_KEY: "medferry_store", PEPPER: "medferry_pepper"}
_MAKE = "A key is made by `openssl rand -base64 32`; a newer one goes behind the older ones."


class KeyMissing(MedferryError):
    """There is no key where one was said to be, or none at all for a file that needs one."""


class WrongKey(MedferryError):
    """A stored file was written with a key that is not among those given."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key-encryption key; printed without what it is made of."""

    material: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        """8 bytes that name the key and tell nothing of it."""
        return self.derived(b"id")[:8]

    @property
    def name(self) -> str:
        """The id as people read it."""
        return self.id.hex()

    def new_digest(self) -> hmac.HMAC:
        """SHA-256 keyed by this key: nobody without it can try values until one fits."""
        return hmac.new(self.derived(b"digest"), digestmod=hashlib.sha256)

    def derived(self, purpose: bytes) -> bytes:
        """32 bytes for one purpose, which tell nothing of the key or of those for others."""
        return hmac.digest(self.material, b"medferry store " + purpose, "sha256")


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys in the order of their age, the newest last; never empty."""

    keys: tuple[Key, ...]

    @property
    def newest(self) -> Key:
        """The one that writes."""
        return self.keys[-1]

    def of(self, key_id: bytes, name: str) -> Key:
        """The key that the stored file `name` was written with. Raises WrongKey."""
        for key in self.keys:
            if key.id == key_id:
                return key
        given = ", ".join(key.name for key in self.keys)
        raise WrongKey(
            f"The stored file {name} was written with the key {key_id.hex()}; given were {given}.",
            "Add that key again, in front of the newer ones: it is needed until what it protects is gone.",
        )


@cache
def keys_from(text: str = "", file: str = "", command: str = "", variable: str = STORE_KEY) -> Keyring | None:
    """The keys in a `text` (of an Airflow connection), a `file`, or the output of a `command`; None: none was named.

    Read once in a process, and in those that it forks. Raises KeyMissing where what was named holds no key, or where
    more than one was named: nobody would know which is meant. `variable`: what errors call it by.
    """
    named = [name for name, value in (("connection", text), ("file", file), ("command", command)) if value]
    if not named:
        return None
    if len(named) > 1:
        problem = f"The key of {variable} is to come from {' and '.join(named)} at once."
        raise KeyMissing(problem, "Name one of them (docs/runbooks/store.md).")
    if file:
        return keyring(_of_file(file, variable), f"the file of {variable}_FILE")
    if command:
        return keyring(_of_command(command, variable), f"the output of {variable}_COMMAND")
    return keyring(text, f"the password of the connection {_CONNECTIONS[variable]}")


def keyring(text: str, place: str) -> Keyring:
    """The keys in a text, parted by white space; lines that begin with # are passed over. Raises KeyMissing."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    keys = tuple(_key(word, number, place) for number, word in enumerate(" ".join(lines).split(), start=1))
    if not keys:
        raise KeyMissing(f"There is no key in {place}.", _MAKE)
    return Keyring(keys)


def _key(word: str, number: int, place: str) -> Key:
    try:
        material = base64.b64decode(word, altchars=b"-_" if {"-", "_"} & {*word} else None, validate=True)
    except (binascii.Error, ValueError):
        material = b""
    if len(material) != KEY_BYTES:
        raise KeyMissing(f"Key {number} in {place} is not {KEY_BYTES} bytes in base64.", _MAKE)
    return Key(material)


def _of_file(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise KeyMissing(
            f"The key file {path} cannot be read ({type(error).__name__}).",
            f"Correct {variable}_FILE, or the file's rights.",
        ) from None


def _of_command(command: str, variable: str) -> str:
    """Its output; what it says besides is not shown, as it may hold a secret."""
    remedy = f"Run the command of {variable}_COMMAND by hand: it must print the keys and end with 0."
    try:
        ended = subprocess.run(
            shlex.split(command), capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise KeyMissing(f"The command of {variable}_COMMAND failed ({type(error).__name__}).", remedy) from None
    if ended.returncode:
        raise KeyMissing(f"The command of {variable}_COMMAND ended with {ended.returncode}.", remedy)
    return ended.stdout
