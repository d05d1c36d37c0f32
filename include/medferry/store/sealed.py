"""One encrypted file: a data key of its own, wrapped by a key-encryption key, and AES-256-GCM chunk by chunk.

    header   "MEDFERRY", version (1), id of the key (8), nonce (12), wrapped data key (48), checksum (8)
    chunks   64 KiB of content each and a tag of 16 bytes; only the last is shorter, and it is always there

Each chunk's nonce holds its number and whether it is the last; what is authenticated besides is the header and the
file's name in the store. So a changed byte, a chunk that is missing, moved or added, and a file in another's place are
found. A data key is used for one file only, which is why numbers make good nonces (the STREAM construction of Hoang and
others, 2015). Content is handed out only when its chunk was proven; that nothing is missing is known at the end.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medferry.errors import MedferryError
from medferry.store.keys import Key, KeyMissing, Keyring

MAGIC = b"MEDFERRY"
VERSION = 1
CHUNK = 64 * 1024
TAG = 16
_NONCE = 12
_WRAPPED = 32 + TAG
_HEAD = struct.Struct(f">8sB8s{_NONCE}s{_WRAPPED}s")
_CHECK = 8
HEADER = _HEAD.size + _CHECK


class StoredFileDamaged(MedferryError):
    """A stored file is not what was stored: changed, cut off, or another file in its place."""


class SealedWriter:
    """Encrypts what is written to it. Nothing is complete before `finish`."""

    def __init__(self, file: BinaryIO, key: Key, name: str) -> None:
        self._file, self._pending, self._number = file, bytearray(), 0
        self._digest = key.new_digest()
        data_key, nonce = AESGCM.generate_key(256), os.urandom(_NONCE)
        start = MAGIC + bytes([VERSION]) + key.id
        head = start + nonce + AESGCM(key.material).encrypt(nonce, data_key, start)
        self._cipher, self._bound = AESGCM(data_key), head + name.encode()
        file.write(head + _checksum(head))

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        self._pending += content
        while len(self._pending) > CHUNK:  # one that is just full may be the last
            self._seal(bytes(self._pending[:CHUNK]), last=False)
            del self._pending[:CHUNK]
        return len(content)

    def flush(self) -> None:
        """Nothing: a chunk is written when it is full."""

    def finish(self) -> str:
        """Write the last chunk; returns the keyed digest of the whole content."""
        self._seal(bytes(self._pending), last=True)
        return self._digest.hexdigest()

    def _seal(self, content: bytes, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last), content, self._bound))
        self._number += 1


class SealedReader:
    """Decrypts a file from its beginning, in bounded memory. Raises StoredFileDamaged when it is read."""

    def __init__(self, file: BinaryIO, keys: Keyring | None, name: str) -> None:
        """Raises KeyMissing, WrongKey, StoredFileDamaged."""
        self._file, self._name = file, name
        self._key, self._cipher, self._bound = self._opened(keys)
        self._content, self._at, self._number, self._told = b"", 0, 0, 0
        self._next = self._file.read(CHUNK + TAG)
        if not self._next:
            raise self._damaged()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end; all that is left for a negative one."""
        parts, wanted = list[bytes](), size
        while wanted and (self._at < len(self._content) or self._open_chunk()):
            part = self._content[self._at :] if wanted < 0 else self._content[self._at : self._at + wanted]
            self._at += len(part)
            wanted -= len(part) if wanted > 0 else 0
            parts.append(part)
        content = b"".join(parts)
        self._told += len(content)
        return content

    def tell(self) -> int:
        """How much of the content was read, in bytes."""
        return self._told

    def close(self) -> None:
        self._file.close()

    def new_digest(self) -> hmac.HMAC:
        """Of what `SealedWriter.finish` returned."""
        return self._key.new_digest()

    def _opened(self, keys: Keyring | None) -> tuple[Key, AESGCM, bytes]:
        head, check = self._file.read(_HEAD.size), self._file.read(_CHECK)
        if len(head) < _HEAD.size or check != _checksum(head):
            raise self._damaged()
        magic, version, key_id, nonce, wrapped = _HEAD.unpack(head)
        if magic != MAGIC or version != VERSION:
            raise self._damaged()
        if keys is None:
            raise KeyMissing(
                f"The stored file {self._name} is encrypted (key {key_id.hex()}), and no key is given.",
                "Give the key by the connection medferry_store, MEDFERRY_STORE_KEY_FILE or MEDFERRY_STORE_KEY_COMMAND.",
            )
        key = keys.of(key_id, self._name)
        try:
            data_key = AESGCM(key.material).decrypt(nonce, wrapped, head[: len(MAGIC) + 1 + len(key_id)])
        except InvalidTag:
            raise self._damaged() from None
        return key, AESGCM(data_key), head + self._name.encode()

    def _open_chunk(self) -> bool:
        """Have the next chunk's content; False at the end."""
        if not self._next:
            return False
        sealed, self._next = self._next, self._file.read(CHUNK + TAG)
        try:
            nonce = _nonce(self._number, last=not self._next)
            self._content, self._at = self._cipher.decrypt(nonce, sealed, self._bound), 0
        except InvalidTag:
            raise self._damaged() from None
        self._number += 1
        return bool(self._content)

    def _damaged(self) -> StoredFileDamaged:
        return StoredFileDamaged(
            f"The stored file {self._name} was changed, cut off, or is another one.",
            "Look who else writes there. Staged files: start a new run, which reads the legacy database anew.",
        )


def _nonce(number: int, last: bool) -> bytes:
    return struct.pack(">7xIB", number, last)


def _checksum(head: bytes) -> bytes:
    """No protection: it tells a damaged header from a key that is not there."""
    return hashlib.sha256(head).digest()[:_CHECK]
