"""A pepper keeps hashes from being tried, and comes off again; a newer one reads what older ones have stored."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from medferry.manifest.hashes import PepperMissing
from medferry.store.keys import keyring
from medferry.store.pepper import HashDamaged, Pepper

HASH = hashlib.sha256(b"1970-02-03").hexdigest()
PLACE = "the test"


def pepper(*seeds: bytes) -> Pepper:
    return Pepper(keyring(" ".join(b64encode(seed * 32).decode() for seed in seeds), PLACE))


def test_a_hash_comes_out_as_it_went_in() -> None:
    one = pepper(b"1")
    stored = one.wrap(HASH)
    assert len(stored) <= 64
    assert HASH[:8] not in stored
    assert stored == one.wrap(HASH), "the same hash, the same text"
    assert one.unwrap(stored) == HASH


def test_the_newest_writes_and_all_read() -> None:
    old, both = pepper(b"1"), pepper(b"1", b"2")
    assert both.unwrap(old.wrap(HASH)) == HASH
    assert both.wrap(HASH) == pepper(b"2").wrap(HASH) != old.wrap(HASH)


def test_without_its_pepper_a_hash_is_not_read() -> None:
    with pytest.raises(PepperMissing, match=pepper(b"1").newest):
        pepper(b"2").unwrap(pepper(b"1").wrap(HASH))


def test_a_stored_hash_that_was_changed_is_found() -> None:
    stored = pepper(b"1").wrap(HASH)
    other = "A" if stored[-10] != "A" else "B"
    with pytest.raises(HashDamaged, match="not as it was stored"):
        pepper(b"1").unwrap(f"{stored[:-10]}{other}{stored[-9:]}")


def test_a_shown_key_is_of_its_entity_and_its_pepper() -> None:
    one = pepper(b"1")
    assert len(one.shown("patient", "4711")) == 16
    others = {one.shown("patient", "4712"), one.shown("staff", "4711"), pepper(b"2").shown("patient", "4711")}
    assert one.shown("patient", "4711") not in others
    assert [*pepper(b"1", b"2").shown_ever("patient", "4711")] == [
        pepper(b"2").shown("patient", "4711"),
        one.shown("patient", "4711"),
    ]


def test_what_is_told_of_a_content_outlasts_a_new_pepper() -> None:
    assert pepper(b"1").mark(HASH) == pepper(b"1", b"2").mark(HASH) != pepper(b"2").mark(HASH)
    assert HASH[:16] not in pepper(b"1").mark(HASH)


def test_no_pepper_is_printed() -> None:
    assert "MTEx" not in repr(pepper(b"1")), "base64 of the digit 1"
