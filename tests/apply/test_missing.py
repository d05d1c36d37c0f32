"""What is referred to and is not there is told without what may be anything about a person."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medferry.apply.missing import missing_record
from medferry.definition.migration import Migration, load_migration
from medferry.source.shown_keys import show_keys_by, shown_place
from tests.tiny_platform import MIGRATION

SSN = ("http://hl7.org/fhir/sid/us-ssn", "078-05-1120")


@pytest.fixture
def migration() -> Iterator[Migration]:
    made = load_migration(MIGRATION)
    object.__setattr__(made, "words", frozenset({f"Practitioner?identifier={SSN[0]}|"}))
    yield made
    show_keys_by(None)


def test_a_record_of_ours_is_named_by_its_key(migration: Migration) -> None:
    assert missing_record(migration, (migration.naming.system("clinic"), "99")) == "clinic 99"


def test_of_anothers_identifier_the_system_is_told(migration: Migration) -> None:
    assert missing_record(migration, SSN) == SSN[0]
    show_keys_by(lambda of, value: "0123456789abcdef" if (of, value) == SSN else "?")
    place = missing_record(migration, SSN)
    assert place == f"{SSN[0]} key:0123456789abcdef" and shown_place(True, place) == place


def test_a_system_that_comes_out_of_a_row_is_not(migration: Migration) -> None:
    assert missing_record(migration, ("urn:078-05-1120", "1")) == "another-system"
    assert missing_record(migration, (f"{migration.plan.base}/mrn", "078-05-1120")) == "another-system"
