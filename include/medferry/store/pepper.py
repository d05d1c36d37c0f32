"""The pepper: a secret without which nobody can try contents or keys against what the manifest keeps or a report shows.

A hash of content is stored wrapped (AES key wrap, RFC 3394) under a key that is derived from the pepper: without that
key it is a random text, as a keyed digest would be, and the same hash gives the same text. With it the hash comes out
again, so a hash of an older pepper compares with a new one, and a change of the pepper makes nothing look changed. A
source key is shown as an HMAC of itself, which nobody needs to undo.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from medferry.errors import MedferryError
from medferry.manifest.hashes import missing
from medferry.store.keys import Key, Keyring

_ID_DIGITS = 9
"""Of a key's id: with them a wrapped hash has as many characters as a plain one."""
_SHOWN_DIGITS = 16


class HashDamaged(MedferryError):
    """A stored hash is none that was made here: somebody has changed it."""


@dataclass(frozen=True, slots=True)
class Pepper:
    """The peppers that are given: the newest writes, all of them read."""

    ring: Keyring

    @property
    def newest(self) -> str:
        """The id of the one that writes, as stored hashes carry it."""
        return _id(self.ring.newest)

    @property
    def ids(self) -> frozenset[str]:
        """Of all that are given."""
        return frozenset(map(_id, self.ring.keys))

    def wrap(self, hash_: str) -> str:
        """What is stored of a SHA-256 in 64 hexadecimal digits."""
        wrapped = aes_key_wrap(_derived(self.ring.newest, b"hash"), bytes.fromhex(hash_))
        return f"{self.newest}:{urlsafe_b64encode(wrapped).decode().rstrip('=')}"

    def unwrap(self, stored: str) -> str:
        """The SHA-256 of what was stored. Raises PepperMissing, HashDamaged."""
        id_, _, text = stored.partition(":")
        for key in self.ring.keys:
            if _id(key) == id_:
                return _unwrapped(key, text)
        raise missing([id_])

    def mark(self, hash_: str) -> str:
        """A keyed digest of a hash, by the oldest pepper that is given: a newer one changes nothing told before."""
        return hmac.digest(_derived(self.ring.keys[0], b"mark"), bytes.fromhex(hash_), "sha256").hex()

    def shown(self, entity: str, key: str) -> str:
        """What is shown instead of a source key: 16 hexadecimal digits, the same for as long as the pepper is."""
        return _shown(self.ring.newest, entity, key)

    def shown_ever(self, entity: str, key: str) -> Iterator[str]:
        """The same by each pepper, the newest first: older reports have those of older ones."""
        return (_shown(pepper, entity, key) for pepper in reversed(self.ring.keys))


def _unwrapped(key: Key, text: str) -> str:
    try:
        padding = "=" * (-len(text) % 4)
        return aes_key_unwrap(_derived(key, b"hash"), urlsafe_b64decode(text + padding)).hex()
    except (InvalidUnwrap, ValueError):
        raise HashDamaged(
            f"A hash in the manifest that the pepper {_id(key)} protects is not as it was stored.",
            "Ask who writes into the manifest's database; restore it from a backup.",
        ) from None


def _shown(pepper: Key, entity: str, key: str) -> str:
    named = f"{entity}\0{key}".encode("utf-8", "surrogatepass")
    return hmac.digest(_derived(pepper, b"source key"), named, "sha256").hex()[:_SHOWN_DIGITS]


def _id(key: Key) -> str:
    return key.name[:_ID_DIGITS]


@cache
def _derived(key: Key, purpose: bytes) -> bytes:
    return key.derived(b"pepper " + purpose)
