"""Whatever is done to an encrypted file is found, and what was not is read as it was written."""

from __future__ import annotations

import random
from base64 import b64encode
from io import BytesIO

import pytest

from medferry.store.keys import Key, KeyMissing, Keyring, WrongKey
from medferry.store.sealed import CHUNK, HEADER, TAG, SealedReader, SealedWriter, StoredFileDamaged

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(1, 33)))
RING = Keyring((NEW,))
SEALED_CHUNK = CHUNK + TAG
BORDERS = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK]


def sealed(content: bytes, name: str = "r/rows/s", key: Key = NEW, parts: random.Random | None = None) -> bytes:
    file, at = BytesIO(), 0
    writer = SealedWriter(file, key, name)
    while at < len(content):
        size = parts.randrange(1, 100_000) if parts else len(content)
        writer.write(content[at : at + size])
        at += size
    writer.finish()
    return file.getvalue()


def opened(
    file: bytes, name: str = "r/rows/s", keys: Keyring | None = RING, sizes: random.Random | None = None
) -> bytes:
    reader, found = SealedReader(BytesIO(file), keys, name), b""
    while part := reader.read(sizes.randrange(1, 100_000) if sizes else -1):
        found += part
    assert reader.tell() == len(found)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_what_was_written_is_read(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.choice(BORDERS) if seed % 2 else rng.randrange(4 * CHUNK)
    content = rng.randbytes(size)
    file = sealed(content, parts=rng)
    chunks = max(1, -(-size // CHUNK))
    assert len(file) == HEADER + size + chunks * TAG
    assert opened(file, sizes=rng) == opened(file) == content


@pytest.mark.parametrize("size", BORDERS)
def test_every_border_is_read(size: int) -> None:
    content = random.Random(size).randbytes(size)
    assert opened(sealed(content)) == content


def test_a_flipped_byte_is_found_wherever_it_is() -> None:
    """Every byte of header, tags and what is around each border; of the content between, a sample."""
    file = sealed(random.Random(1).randbytes(2 * CHUNK + 500))
    starts = [HEADER + number * SEALED_CHUNK for number in range(3)]
    places = {*range(HEADER), *range(starts[2], len(file)), *random.Random(2).sample(range(len(file)), 50)}
    for start in starts:
        places |= {*range(start - TAG - 2, start + 2)}
    for place in sorted(places & {*range(len(file))}):
        changed = bytearray(file)
        changed[place] ^= 1 << place % 8
        with pytest.raises(StoredFileDamaged):
            opened(bytes(changed))


def test_a_file_that_was_cut_off_is_found() -> None:
    file = sealed(random.Random(1).randbytes(3 * CHUNK))
    borders = [0, 1, HEADER - 1, *(HEADER + number * SEALED_CHUNK for number in range(3))]
    for border in borders:
        for size in {max(0, border - 1), border, border + 1, border + TAG}:
            with pytest.raises(StoredFileDamaged):
                opened(file[:size])
    for size in (len(file) - 1, len(file) - TAG):
        with pytest.raises(StoredFileDamaged):
            opened(file[:size])


def test_chunks_that_were_moved_doubled_or_added_are_found() -> None:
    file = sealed(random.Random(1).randbytes(3 * CHUNK))
    head = file[:HEADER]
    one, two, three = (file[HEADER + n * SEALED_CHUNK : HEADER + (n + 1) * SEALED_CHUNK] for n in range(3))
    assert opened(head + one + two + three)
    for chunks in (two + one + three, one + three + two, one + one + three, one + three, one + two + three + three):
        with pytest.raises(StoredFileDamaged):
            opened(head + chunks)
    with pytest.raises(StoredFileDamaged):
        opened(file + b"x")


def test_a_file_in_the_place_of_another_is_found() -> None:
    one, other = sealed(b"one", "r/rows/s-1"), sealed(b"other", "r/rows/s-2")
    with pytest.raises(StoredFileDamaged, match=r"r/rows/s-1 was changed"):
        opened(other, "r/rows/s-1")
    with pytest.raises(StoredFileDamaged):
        opened(one[:HEADER] + other[HEADER:], "r/rows/s-1")


def test_the_same_content_is_never_the_same_file_and_has_one_digest() -> None:
    assert sealed(b"Ada") != sealed(b"Ada")
    digests = []
    for key in (NEW, NEW, OLD):
        writer = SealedWriter(BytesIO(), key, "n")
        writer.write(b"Ada")
        digests.append(writer.finish())
    assert digests[0] == digests[1] != digests[2]


def test_keys_are_changed_by_putting_a_newer_one_behind() -> None:
    before = sealed(b"before", key=OLD)
    both = Keyring((OLD, NEW))
    assert both.newest is NEW
    assert opened(before, keys=both) == b"before"
    with pytest.raises(WrongKey, match=f"with the key {OLD.name}; given were {NEW.name}"):
        opened(before, keys=RING)
    with pytest.raises(KeyMissing, match="no key is given"):
        opened(before, keys=None)


def test_nothing_of_a_key_is_seen() -> None:
    with pytest.raises(WrongKey) as caught:
        opened(sealed(b"x", key=OLD), keys=RING)
    seen = f"{RING!r} {NEW!r} {caught.value} {caught.value.__dict__}"
    for key in (OLD, NEW):
        assert not any(
            form in seen for form in (key.material.hex(), b64encode(key.material).decode(), str(key.material))
        )
