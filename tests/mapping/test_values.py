"""The parsers keep or refuse; they never guess."""

from __future__ import annotations

from datetime import datetime

import pytest

from medferry.mapping import values
from medferry.mapping.outcomes import Finding, Quarantine, Skip

NEW_YORK = values.zone_of("America/New_York")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29", "2024-02-29"),
        ("2024-02-29 00:00:00", "2024-02-29"),
        ("2024-02-29T00:00:00.000", "2024-02-29"),
        ("2024-02", "2024-02"),
        ("2024", "2024"),
    ],
)
def test_a_date_keeps_its_precision(text: str, expected: str) -> None:
    assert values.parse_date(text) == expected


@pytest.mark.parametrize(
    "text", ["2023-02-29", "2024-02-30", "2024-13-01", "2024-00", "0000", "24-01-01", "2024-02-29 13:00:00", "infinity"]
)
def test_what_is_no_day_of_the_calendar_is_quarantined(text: str) -> None:
    with pytest.raises(Quarantine) as told:
        values.parse_date(text, "born")
    assert (told.value.reason, told.value.field) == ("impossible-date", "born")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-15 08:30:00", "2024-01-15T08:30:00-05:00"),
        ("2024-07-15T08:30", "2024-07-15T08:30:00-04:00"),
        ("2024-07-15 08:30:00.250000", "2024-07-15T08:30:00.250-04:00"),
        ("2024-03-10 01:59:59", "2024-03-10T01:59:59-05:00"),
        ("2024-03-10 03:00:00", "2024-03-10T03:00:00-04:00"),
        ("2024-11-03 00:59:59", "2024-11-03T00:59:59-04:00"),
        ("2024-11-03 02:00:00", "2024-11-03T02:00:00-05:00"),
    ],
)
def test_a_local_time_gets_the_offset_of_its_day(text: str, expected: str) -> None:
    assert values.parse_local_time(text, NEW_YORK) == expected


@pytest.mark.parametrize(
    ("zone", "text", "reason"),
    [
        ("Pacific/Apia", "2011-12-30 12:00", "nonexistent-local-time"),  # a day that Samoa left out
        ("Asia/Pyongyang", "2015-08-14 23:45", "ambiguous-local-time"),  # a shift without summer time
        ("Australia/Lord_Howe", "2024-10-06 02:15", "nonexistent-local-time"),  # of half an hour
    ],
)
def test_gaps_and_folds_of_every_kind_are_found(zone: str, text: str, reason: str) -> None:
    with pytest.raises(Quarantine, match=reason):
        values.parse_local_time(text, values.zone_of(zone))


def test_a_name_that_is_no_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="Nowhere"):
        values.zone_of("Nowhere/City")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2024-03-10 02:30:00", "nonexistent-local-time"),
        ("2024-11-03 01:30:00", "ambiguous-local-time"),
        ("2024-11-03 25:30:00", "impossible-date"),
        ("2024-11-03", "impossible-date"),
        ("0001-01-01 00:00:00", "impossible-date"),  # local mean time, as below; the minimum of .NET
    ],
)
def test_a_local_time_that_cannot_be_placed_is_quarantined(text: str, reason: str) -> None:
    with pytest.raises(Quarantine, match=reason):
        values.parse_local_time(text, NEW_YORK)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-10T02:30:00Z", "2024-03-10T02:30:00+00:00"),
        ("2024-03-10 02:30:00+00", "2024-03-10T02:30:00+00:00"),  # PostgreSQL
        ("2024-11-03 01:30:00-05", "2024-11-03T01:30:00-05:00"),  # twice on New York's clocks, once by its offset
        ("2024-03-10 02:30:00-0500", "2024-03-10T02:30:00-05:00"),  # never on New York's clocks
        ("2024-03-10 02:30:00 +05:30", "2024-03-10T02:30:00+05:30"),  # SQL Server
        ("2024-03-10T02:30+14:00", "2024-03-10T02:30:00+14:00"),
        ("2024-03-10 02:30:00.5+00", "2024-03-10T02:30:00.500+00:00"),
        ("2024-03-10 02:30:00.123456-12", "2024-03-10T02:30:00.123456-12:00"),
        ("2024-03-10 02:30:00.000000+00", "2024-03-10T02:30:00+00:00"),
    ],
)
def test_a_time_with_its_offset_is_kept_exactly(text: str, expected: str) -> None:
    assert values.has_offset(text)
    assert values.parse_exact_time(text) == expected
    source, kept = (datetime.fromisoformat(one.replace(" +", "+")) for one in (text, expected))
    assert (kept, kept.utcoffset()) == (source, source.utcoffset())


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-10 02:30:00+14:30",
        "2024-03-10 02:30:00+15",
        "2024-03-10 02:30:00+05:75",
        "1883-01-01 12:00:00-04:56:02",  # local mean time: FHIR has no seconds there
        "2024-02-30 02:30:00Z",
        "2024-03-10 24:30:00+00",
        "2024-03-10 02:30:60Z",
        "2024-03-10 02:30:00.1234567+00",  # more digits than are kept
    ],
)
def test_an_impossible_time_with_an_offset_is_quarantined(text: str) -> None:
    assert values.has_offset(text)
    with pytest.raises(Quarantine, match="impossible-date"):
        values.parse_exact_time(text)


@pytest.mark.parametrize("text", ["2024-03-10", "2024-03", "2024-03-10 02:30:00", "2024-03-10Z", ""])
def test_nothing_else_is_taken_for_an_offset(text: str) -> None:
    assert not values.has_offset(text)
    with pytest.raises(Quarantine, match="impossible-date"):
        values.parse_exact_time(text)


def test_the_fraction_of_a_local_time_is_kept() -> None:
    assert values.parse_local_time("2024-07-01 10:00:00.123456", NEW_YORK) == "2024-07-01T10:00:00.123456-04:00"
    assert values.parse_local_time("2024-07-01 10:00:00.12", NEW_YORK) == "2024-07-01T10:00:00.120-04:00"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("72.50", 72.5),
        ("72.00", 72),
        (72.0, 72),
        (7, 7),
        ("0.1", 0.1),
        ("42.35811234567891", 42.35811234567891),
        ("123456789012345", 123456789012345),
        ("1e-05", 0.00001),
        (2e-7, 2e-7),
        ("1E+3", 1000),
        ("1e16", 10**16),
        ("100000000000000000000", 1e20),
        ("-10000000000000000000", -1e19),
        ("-9e18", -9 * 10**18),
        ("1.5e300", 1.5e300),
    ],
)
def test_numbers_are_exact_and_whole_ones_are_integers(value: object, expected: float) -> None:
    number = values.parse_number(value)  # type: ignore[arg-type]
    assert number == expected
    assert str(number) == str(expected)


@pytest.mark.parametrize("value", ["abc", "", "1,5", "1e", "e3", "1e99999", "NaN", "inf", "7 kg", True])
def test_what_is_no_number_is_quarantined(value: object) -> None:
    with pytest.raises(Quarantine, match="not-a-number"):
        values.parse_number(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["0.12345678901234567", "12345678901234567", "1.00000000000000000001", "1e400", "1e-400", "-0", "-0.0", "-0e3"],
)
def test_a_number_that_a_double_cannot_hold_is_quarantined(text: str) -> None:
    with pytest.raises(Quarantine, match="precision-loss"):
        values.parse_number(text)


@pytest.mark.parametrize(
    ("text", "expected", "cut"),
    [
        ("2020-03-01 10:11:12.1234567", "2020-03-01 10:11:12.123456", True),
        ("2020-03-01 10:11:12.123456000Z", "2020-03-01 10:11:12.123456Z", False),
        ("2020-03-01 10:11:12.123456789-05:00", "2020-03-01 10:11:12.123456-05:00", True),
        ("2020-03-01 10:11:12.123456", "2020-03-01 10:11:12.123456", False),
        ("2020-03-01 10:11:12.1234567890", "2020-03-01 10:11:12.1234567890", False),  # no engine prints ten
    ],
)
def test_what_is_finer_than_a_microsecond_is_cut(text: str, expected: str, cut: bool) -> None:
    assert values.to_microseconds(text) == (expected, cut)


def test_a_zero_date_is_false_and_kept() -> None:
    row = {"deleted_at": "0000-00-00 00:00:00.000", "born": "0000-00-00", "died": "1980-00-00", "note": "0000-00-00x"}
    read = values.with_zero_dates(row)
    assert read == row
    assert [name for name, value in read.items() if value] == ["died", "note"]
    assert values.with_zero_dates({"a": None, "b": 0, "c": "x"}) == {"a": None, "b": 0, "c": "x"}


@pytest.mark.parametrize("text", ["O\x92Brien", "Gon\x8dalves", "Ada\x85", "\x9f", "Éve".encode().decode("latin-1")])
def test_letters_of_another_encoding_are_told(text: str) -> None:
    assert values.is_decoded_as_latin_1(text)
    assert values.without_control_characters(text) == text


@pytest.mark.parametrize("text", ["O’Brien", "Ève", "a\x7fb\x1f", "a\u00a0b\u00ad", "null"])
def test_honest_letters_are_none_of_another_encoding(text: str) -> None:
    assert not values.is_decoded_as_latin_1(text)


def test_mojibake_is_told_from_honest_accents() -> None:
    assert values.looks_like_mojibake("José".encode().decode("cp1252"))
    assert not values.looks_like_mojibake("José")
    assert not values.looks_like_mojibake("Müller–Lüdenscheidt")


def test_undecodable_text_is_seen() -> None:
    assert values.is_undecodable(b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert values.is_undecodable("caf\ufffd")
    assert not values.is_undecodable("café 😀")


@pytest.mark.parametrize("reason", ["Soft deleted", "patient Ada Byron", "", "a" * 61, "x-" * 10])
def test_a_reason_cannot_carry_data(reason: str) -> None:
    with pytest.raises(ValueError, match="kebab-case"):
        Skip(reason)


def test_a_field_cannot_carry_data() -> None:
    with pytest.raises(ValueError, match="column"):
        Quarantine("impossible-date", "Ada Byron 1815")
    assert Finding("sentinel-date", "born").field == "born"
