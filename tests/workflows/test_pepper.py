"""With a pepper nobody can try contents against the manifest; turning it on or changing it changes nothing else."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.errors import VerificationFailed
from medferry.fhir.canonical import content_hash
from medferry.manifest.hashes import PepperMissing
from medferry.manifest.tables import metadata
from medferry.manifest.unit_state import digests_of
from medferry.runtime.environment import Environment
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.database import snapshot
from medferry.source.lookup import row_of_key
from medferry.store.keys import KeyMissing
from medferry.workflows.given_key import UnknownDigest, key_given
from medferry.workflows.given_key import digests_of as shown_digests_of
from medferry.workflows.pepper import NoPepper, forget, protect_all
from medferry.workflows.verify_in_step import verify_present
from tests.stages.test_unchanged import clinic, write
from tests.tiny_platform import RESOURCES
from tests.workflows.test_migrate import migrate

UNCHANGED = {"created": 0, "updated": 0, "unchanged": RESOURCES}
DAYS = [date(1965, 1, 1) + timedelta(days=number) for number in range(10 * 366)]
"""Ada was born on one of them."""


def peppered(tiny: Environment, *seeds: bytes) -> Environment:
    """The same platform; the last pepper is the newest."""
    text = " ".join(b64encode(seed * 32).decode() for seed in seeds)
    return Environment(tiny.migration, replace(tiny.settings, pepper_keys=text))


def held(tiny: Environment) -> str:
    """All that the manifest's database holds."""
    with tiny.manifest.connect() as connection:
        tables = [connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in metadata.tables]
    return "\n".join(map(str, tables))


def attacks(tiny: Environment) -> Iterator[tuple[str, str]]:
    """(what is tried, its SHA-256): all but Ada's birth date is known to who tries."""
    entity = tiny.migration.entities["patient"]
    with snapshot(tiny.source) as view:
        row = row_of_key(view, entity, "1")
    with tiny.medplum() as client:
        [patient] = client.by_name("Patient", tiny.migration.naming.system("patient"), ["1"])
        resource = client.by_id("Patient", [patient["id"]])[patient["id"]]
    assert row is not None
    for day in map(date.isoformat, DAYS):
        yield f"row {day}", row_digest(dump_row({**row, "born": day}))
        yield f"resource {day}", content_hash({**resource, "birthDate": day})


def recovered(tiny: Environment) -> set[str]:
    known = held(tiny)
    return {what for what, hash_ in attacks(tiny) if hash_ in known or hash_[:16] in known}


def test_a_birth_date_is_found_by_trying_unless_there_is_a_pepper(tiny: Environment) -> None:
    """The attack is the same; what it finds without a pepper proves that it would find it."""
    migrate(tiny, "first")
    assert recovered(tiny) == {"row 1970-02-03", "resource 1970-02-03"}
    salted = peppered(tiny, b"1")
    assert protect_all(salted)["target"] > 0
    assert recovered(salted) == set()


def test_a_new_manifest_with_a_pepper_holds_nothing_to_try(tiny: Environment) -> None:
    salted = peppered(tiny, b"1")
    migrate(salted, "first")
    migrate(salted, "second")
    write(salted, "PUT", {**clinic(salted), "name": "Changed"})
    with pytest.raises(VerificationFailed):
        migrate(salted, "third")
    assert recovered(salted) == set()
    changed = content_hash(clinic(salted))
    assert changed[:16] not in held(salted), "nor is what somebody else has written told by its hash"


def test_turning_it_on_and_changing_it_changes_nothing(tiny: Environment) -> None:
    """No write, no drift, a proven verification: before and after all are protected anew, with each ring in turn."""
    migrate(tiny, "plain")
    steps: list[tuple[bytes, ...]] = [(b"1",), (b"1", b"2"), (b"2",), (b"3", b"2"), (b"2", b"3")]
    for number, seeds in enumerate(steps):
        salted = peppered(tiny, *seeds)
        assert migrate(salted, f"with {number}") == UNCHANGED
        assert verify_present(salted).verdict.unresolved == []
        protect_all(salted)
        assert migrate(salted, f"protected {number}") == UNCHANGED
    with salted.manifest.connect() as connection:
        assert "" not in digests_of(connection, "tiny", "patient", ["1", "2"]).values()
    write(salted, "PUT", {**clinic(salted), "name": "Changed"})
    with pytest.raises(VerificationFailed, match="changed since the load"):
        migrate(salted, "planted")


def test_a_changed_row_is_still_found(tiny: Environment) -> None:
    migrate(tiny, "plain")
    salted = peppered(tiny, b"1")
    protect_all(salted)
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET family = 'Adair' WHERE id = 1")
    both = peppered(tiny, b"1", b"2")
    assert migrate(both, "second") == {"created": 0, "updated": 1, "unchanged": RESOURCES - 1}


def test_without_its_pepper_a_manifest_is_not_opened(tiny: Environment) -> None:
    migrate(peppered(tiny, b"1"), "first")
    for given in (Environment(tiny.migration, tiny.settings), peppered(tiny, b"2")):
        with pytest.raises(PepperMissing):
            migrate(given, "second")
    with pytest.raises(NoPepper, match="not one that is lost"):
        forget(peppered(tiny, b"1").settings, "0" * 9)


def test_a_lost_pepper_costs_a_write_of_each_record_and_doubles_none(tiny: Environment) -> None:
    lost = peppered(tiny, b"1")
    migrate(lost, "first")
    assert lost.settings.pepper is not None
    fresh = peppered(tiny, b"2")
    assert sum(forget(fresh.settings, lost.settings.pepper.newest).values()) > 0
    again = migrate(fresh, "second")
    assert again["created"] == 0
    assert migrate(fresh, "third") == UNCHANGED
    with fresh.medplum() as client:
        assert client.count("Patient") == 3


def test_a_pepper_by_which_a_process_has_written_after_it_was_taken_out_can_be_forgotten(tiny: Environment) -> None:
    """It had opened the manifest before, and was left out of the rotation."""
    left_out = peppered(tiny, b"2", b"1")
    migrate(left_out, "first")
    protect_all(peppered(tiny, b"1", b"2"))
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET family = 'Adair' WHERE id = 1")
    migrate(left_out, "second")
    fresh = peppered(tiny, b"2")
    with pytest.raises(PepperMissing):
        migrate(fresh, "third")
    assert left_out.settings.pepper is not None and fresh.settings.pepper is not None
    with pytest.raises(NoPepper, match="not one that is lost"):
        forget(fresh.settings, fresh.settings.pepper.newest)
    assert sum(forget(fresh.settings, left_out.settings.pepper.newest).values()) > 0
    assert migrate(fresh, "fourth")["created"] == 0
    assert migrate(fresh, "fifth") == UNCHANGED


def test_a_digest_that_is_shown_names_its_key(tiny: Environment) -> None:
    salted = peppered(tiny, b"1")
    migrate(salted, "first")
    [shown] = shown_digests_of(salted, "patient", "4")
    both = peppered(tiny, b"1", b"2")
    assert key_given(both, "patient", shown) == "4", "an older report's"
    assert key_given(both, "patient", "4") == "4"
    with pytest.raises(UnknownDigest):
        key_given(both, "weight", shown)
    with pytest.raises(NoPepper):
        key_given(Environment(tiny.migration, tiny.settings), "patient", shown)


def test_keys_are_not_shown_as_digests_without_a_pepper(tiny: Environment) -> None:
    with pytest.raises(KeyMissing, match="MEDFERRY_SHOW_KEYS"):
        Environment(tiny.migration, replace(tiny.settings, digest_keys=True))


def test_every_hash_in_the_manifest_is_of_no_content_or_protected(tiny: Environment) -> None:
    """A column that keeps a SHA-256 as it is must be known here: is it of content that somebody could try?"""
    salted = peppered(tiny, b"1")
    migrate(salted, "first")
    verify_present(salted)
    plain: set[str] = set()
    with salted.manifest.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.exec_driver_sql(f"SELECT * FROM {table.name}").mappings():
                plain |= {f"{table.name}.{name}" for name, value in row.items() if _is_hash(value)}
    assert plain <= {
        *(f"{name}.fingerprint" for name in ("run", "source_unit", "unit_state", "verification")),
        "verification.state",  # of runs, numbers and times
        "entity_key.query",  # of an author's SQL
        "exception.digest",  # of keys, columns and kinds
        *("audit.hash", "audit.digest"),
    }


def _is_hash(value: Any) -> bool:
    text = str(value)
    return len(text) == hashlib.sha256().digest_size * 2 and not set(text) - set("0123456789abcdef")


def test_the_attack_sees_what_the_manifest_holds(tiny: Environment) -> None:
    migrate(tiny, "first")
    with tiny.manifest.connect() as connection:
        known = connection.scalar(sa.text("SELECT content_hash FROM target LIMIT 1"))
    assert known and known in held(tiny)
