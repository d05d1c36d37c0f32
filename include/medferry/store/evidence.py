"""An archive whose members cannot be altered unseen: a ZIP with the SHA-256 of each, and a signature over these.

The signature is Ed25519. That it fits tells that nothing was altered since somebody signed; who signed is told by the
fingerprint of the key alone, which has to be compared with one that is known from elsewhere: whoever alters it can sign
anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medferry.errors import MedferryError
from medferry.store.files import Store
from medferry.store.keys import Key

DIGESTS, SIGNATURE, PUBLIC_KEY = "DIGESTS.json", "SIGNATURE", "PUBLIC_KEY"
_OWN = (DIGESTS, SIGNATURE, PUBLIC_KEY)
_LARGEST = 1 << 30
"""Bytes of a member: more is no evidence of ours."""


class Altered(MedferryError):
    """An archive of evidence is not as it was signed, or was signed by another key."""


def write_evidence(path: Path, members: Mapping[str, bytes], key: Key) -> str:
    """Write an archive by one rename; returns the fingerprint of the key that signed it."""
    content, signed_by = _archive(members, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    return signed_by


def publish_evidence(store: Store, name: str, members: Mapping[str, bytes], key: Key) -> str:
    """Write an archive to object storage, where it is whole or absent; returns as `write_evidence`.

    Raises what a `Store` raises.
    """
    content, signed_by = _archive(members, key)
    with store.writing(name) as file:
        file.to.write(content)
    return signed_by


def _archive(members: Mapping[str, bytes], key: Key) -> tuple[bytes, str]:
    """Its bytes, and the fingerprint of the key."""
    private = Ed25519PrivateKey.from_private_bytes(key.material)
    digests = json.dumps({name: _sha256(members[name]) for name in sorted(members)}, indent=1).encode()
    public = private.public_key().public_bytes_raw()
    own = {DIGESTS: digests, SIGNATURE: private.sign(digests).hex().encode(), PUBLIC_KEY: public.hex().encode()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**own, **dict(sorted(members.items()))}.items():
            archive.writestr(name, content)
    return made.getvalue(), _sha256(public)


def verify_evidence(path: Path, signed_by: str = "") -> tuple[str, list[str]]:
    """The fingerprint of the key that signed an archive, and its members. Raises Altered, with all that is wrong.

    `signed_by`: the fingerprint that it has to be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = Counter(archive.namelist())
            if any(one.file_size > _LARGEST for one in archive.infolist()):
                raise Altered(f"{path.name} holds a member of more than a gigabyte.", _REMEDY)
            members = {name: archive.read(name) for name in names}
        fingerprint, digests = _signed(members)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, InvalidSignature, NotImplementedError) as error:
        raise Altered(f"{path.name} is no evidence as it was signed ({type(error).__name__}).", _REMEDY) from None
    faults = [f"{name} is there {number} times" for name, number in names.items() if number > 1]
    faults += [f"{name} is missing" for name in digests if name not in members]
    faults += [f"{name} was added" for name in members if name not in digests and name not in _OWN]
    faults += [f"{name} is altered" for name in digests if name in members and _sha256(members[name]) != digests[name]]
    if signed_by and fingerprint != signed_by.lower():
        faults.append(f"it was signed by the key {fingerprint}")
    if faults:
        raise Altered(f"{path.name} is not as it was signed: {'; '.join(faults)}.", _REMEDY)
    return fingerprint, sorted(digests)


_REMEDY = "Take another copy; the decisions of the manifest have the digest of the one that was written."


def digest_of_archive(path: Path) -> str:
    """SHA-256 of the file, in 64 digits."""
    return _sha256(path.read_bytes())


def _signed(members: Mapping[str, bytes]) -> tuple[str, dict[str, str]]:
    """The key's fingerprint, and the digests that it signed. Raises KeyError, ValueError, InvalidSignature."""
    public = bytes.fromhex(members[PUBLIC_KEY].decode())
    Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(members[SIGNATURE].decode()), members[DIGESTS])
    return _sha256(public), dict(json.loads(members[DIGESTS]))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
