"""One text per key: what names one row names it everywhere, and no two keys meet."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medferry.fhir.references import parse_conditional
from medferry.mapping.identity import conditional_reference
from medferry.source.keys import MAX_KEY_BYTES, KeyFault, fault_of, is_escaped, key_text, ledger_key, parts_of

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (2**64 - 1, "18446744073709551615"),
        (" A1", " A1"),
        ("K1        ", "K1        "),
        (1.0, "1"),
        (-3.0, "-3"),
        (1.5, "1.5"),
        (Decimal("90071992547409930"), "90071992547409930"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        (b"\x00\xff", "AP8="),
        (uuid.UUID("ABCDEF00-0000-0000-0000-000000000001"), "abcdef00-0000-0000-0000-000000000001"),
        (None, None),
        (("a", 1), "a/1"),
        (["a/b", "c\\d"], "a\\/b/c\\\\d"),
        (("a", None), None),
        (("a",), "a"),
    ],
)
def test_the_text_of_a_key(value: Any, text: str | None) -> None:
    assert key_text(value) == text


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, KeyFault.MISSING),
        ("", KeyFault.BLANK),
        (" \t", KeyFault.BLANK),
        (2.0**53, KeyFault.INEXACT),
        (float("nan"), KeyFault.INEXACT),
        (float("-inf"), KeyFault.INEXACT),
        ("a\0b", KeyFault.NUL),
        ("caf\udce9", KeyFault.UNDECODABLE),
        ("not-text:00", KeyFault.RESERVED),
        ("é" * (MAX_KEY_BYTES // 2) + "x", KeyFault.TOO_LONG),
        ("é" * (MAX_KEY_BYTES // 2), None),
        (2.0**53 - 1, None),
        (" A1", None),
    ],
)
def test_what_names_no_row_is_told(value: Any, fault: KeyFault | None) -> None:
    key = key_text(value)
    assert fault_of(key) == fault
    kept = ledger_key(key)
    assert is_escaped(kept) == (fault is not None)
    assert len(kept.encode()) <= MAX_KEY_BYTES
    assert "\0" not in kept


@given(st.lists(st.lists(KEYS, min_size=3, max_size=3), min_size=2, max_size=2))
def test_keys_of_several_columns_never_meet(keys: list[list[str]]) -> None:
    first, second = keys
    assert (key_text(first) == key_text(second)) == (first == second)
    assert parts_of(key_text(first) or "", 3) == first
    assert parts_of(key_text(first[:2]) or "", 3) is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_two_keys_have_one_name_in_the_ledger(first: str, second: str) -> None:
    assert (ledger_key(first) == ledger_key(second)) == (first == second)


@given(KEYS)
def test_a_reference_reads_back_as_the_key_it_was_made_of(key: str) -> None:
    assert parse_conditional(conditional_reference("Patient", "https://x.example/p", key)) == (
        "Patient",
        "https://x.example/p",
        key,
    )
