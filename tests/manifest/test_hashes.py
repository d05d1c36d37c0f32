"""Hashes of contents in the manifest: protected where there is a pepper, and read in whatever form they were stored."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.fhir.sides import Side
from medferry.manifest import audit
from medferry.manifest.clock import read_clock
from medferry.manifest.conflict_decisions import decide, sides_of
from medferry.manifest.conflicts import Direction, NewConflict, Versions, find_conflict, record_conflict
from medferry.manifest.crosswalk import ConfirmedWrite, Effect, find_targets, record_confirmed
from medferry.manifest.hashes import PepperMissing, protect, read, stored
from medferry.manifest.known_lines import hashes_on_their_way
from medferry.manifest.peppers import check_pepper, peppers_of
from medferry.manifest.replaced import remember_replaced
from medferry.manifest.rewrap import rewrap
from medferry.manifest.sent_batches import SentEntry, note_act
from medferry.manifest.source_records import SourceRecord, write_records
from medferry.manifest.tables import metadata, target, unit_state
from medferry.manifest.unit_state import digests_of
from medferry.manifest.write_backs import NewBase, WriteBack, note_write_backs, open_write_backs
from medferry.mapping.outcomes import Disposition
from medferry.store.keys import keyring
from medferry.store.pepper import Pepper

NAME = ("urn:patient", "1")


def pepper(*seeds: bytes) -> Pepper:
    return Pepper(keyring(" ".join(b64encode(seed * 32).decode() for seed in seeds), "the test"))


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fill(connection: sa.Connection, name: str) -> None:
    """Something in every table that has hashes, each the hash of the table's word and of `name`."""
    row = {"id": name, "migration": "m", "kind": "run", "status": "running", "units": ["u"], "entities": ["patient"]}
    row |= {"options": {}, "fingerprint": "f", "started_at": read_clock(connection)}
    connection.execute(sa.insert(metadata.tables["run"]).values(row))
    record = SourceRecord("patient", name, "u", "s", Disposition.SKIPPED, "1", source_digest=hash_of(f"row {name}"))
    write_records(connection, name, [record], [])
    write = ConfirmedWrite("urn:patient", name, "patient", "Patient", f"id-{name}", "v", "", Effect.CREATED)
    hashes = {"content_hash": hash_of(f"content {name}"), "wanted_hash": hash_of(f"wanted {name}")}
    record_confirmed(connection, "m", name, "s", [replace(write, **hashes)])
    remember_replaced(connection, "m", [("urn:patient", name, "another id")])
    entry = SentEntry("urn:patient", name, "update", "Patient", hash_of(f"sent {name}"), "id", "v", hash_of("wanted"))
    note_act(connection, "m", "holder", "patient", entry)
    base = NewBase("urn:patient", name, "Patient", "id", "v", "w", hash_of(f"base {name}"), None)
    note = WriteBack("patient", name, "wave", "u", name, hash_of(f"expected {name}"), True, (base,))
    note_write_backs(connection, "m", [note])


def raw(connection: sa.Connection) -> str:
    """All that the tables of the manifest hold, as their bytes are."""
    return "\n".join(
        str(connection.exec_driver_sql(f"SELECT * FROM {table.name}").all()) for table in metadata.sorted_tables
    )


WORDS = ("row", "content", "wanted", "sent", "base", "expected")


def as_read(connection: sa.Connection, name: str) -> dict[str, Any]:
    known = find_targets(connection, "m", [("urn:patient", name)])["urn:patient", name]
    [note] = [one for one in open_write_backs(connection, "m", "wave") if one.key == name]
    return {
        "row": digests_of(connection, "m", "patient", [name])[name],
        "content": known.content_hash,
        "wanted": known.wanted_hash,
        "sent": next(iter(hashes_on_their_way(connection, "m")["urn:patient", name])),
        "base": note.bases[0].content_hash,
        "expected": note.expected,
    }


def expected(name: str) -> dict[str, str]:
    return {word: hash_of(f"{word} {name}") for word in WORDS}


def test_what_was_stored_in_any_form_is_read(manifest: sa.Engine) -> None:
    """Plain from before, by the first pepper, by the newest."""
    forms = (("a", None), ("b", pepper(b"1")), ("c", pepper(b"1", b"2")))
    for name, ring in forms:
        protect(manifest, ring)
        with manifest.begin() as connection:
            fill(connection, name)
    with manifest.begin() as connection:
        assert [as_read(connection, name) for name, _ in forms] == [expected(name) for name, _ in forms]
        held = raw(connection)
    assert all(hash_of(f"{word} a") in held for word in WORDS), "without a pepper they can be tried"
    assert not any(hash_of(f"{word} {name}") in held for word in WORDS for name in "bc")


def test_all_are_protected_by_the_newest(manifest: sa.Engine) -> None:
    for name, ring in (("a", None), ("b", pepper(b"1")), ("c", pepper(b"2"))):
        protect(manifest, ring)
        with manifest.begin() as connection:
            fill(connection, name)
    ring = pepper(b"1", b"2")
    changed = rewrap(manifest, lambda text: stored(read(text, ring), ring))
    assert {name: number for name, number in changed.items() if number} == dict.fromkeys(
        ("source_unit", "unit_state", "target", "former_target", "sent_batch", "write_back"), 2
    )
    protect(manifest, pepper(b"2"))
    with manifest.begin() as connection:
        assert [as_read(connection, name) for name in "abc"] == [expected(name) for name in "abc"]
        held = raw(connection)
    assert pepper(b"1").newest not in held
    assert not any(hash_of(f"{word} {name}") in held for word in WORDS for name in "abc")
    assert not any(rewrap(manifest, lambda text: stored(read(text, ring), ring)).values()), "once is enough"


def test_a_manifest_is_opened_with_every_pepper_that_has_written(manifest: sa.Engine) -> None:
    check_pepper(manifest, None)
    check_pepper(manifest, pepper(b"1"))
    check_pepper(manifest, pepper(b"2", b"1"))
    for given in (None, pepper(b"2")):
        with pytest.raises(PepperMissing, match=pepper(b"1").newest):
            check_pepper(manifest, given)
    with manifest.connect() as connection:
        assert peppers_of(connection) == {pepper(b"1").newest}, "the other has read, not written"


def test_without_any_pepper_a_protected_hash_is_no_other_hash(manifest: sa.Engine) -> None:
    protect(manifest, pepper(b"1"))
    with manifest.begin() as connection:
        fill(connection, "a")
    protect(manifest, None)
    with manifest.connect() as connection, pytest.raises(PepperMissing):
        find_targets(connection, "m", [("urn:patient", "a")])


def test_no_statement_compares_hashes(manifest: sa.Engine) -> None:
    """The same one may stand there in another form: it would not be found."""
    for other in (hash_of("x"), target.c.wanted_hash):
        with pytest.raises(TypeError, match="several forms"):
            sa.select(target).where(target.c.content_hash == other)
    with pytest.raises(TypeError, match="several forms"):
        sa.select(target).where(target.c.content_hash.in_([hash_of("x")]))
    sa.select(unit_state).where(unit_state.c.source_digest == "", target.c.wanted_hash.is_not(None))


def test_a_decision_about_a_conflict_holds_while_its_pepper_is_there(manifest: sa.Engine) -> None:
    protect(manifest, pepper(b"1"))
    versions = Versions("v", hash_of("row"), hash_of("made"))
    new = NewConflict("m", "wave", "u", "patient", NAME, "Patient", "id", ("birthDate",), Direction.FORWARD, versions)
    with manifest.begin() as connection:
        conflict = record_conflict(connection, new)
        decide(connection, conflict, (), Side.LEGACY, "A. Owner", "seen")
        assert conflict.digest not in raw(connection), "it is a hash of hashes of contents"
    for ring, holds in ((pepper(b"1", b"2"), True), (pepper(b"2"), False)):
        if not holds:
            rewrap(manifest, lambda text: stored(read(text, pepper(b"1", b"2")), pepper(b"2")))
        protect(manifest, ring)
        with manifest.begin() as connection:
            present = find_conflict(connection, "m", conflict.id)
            assert present is not None
            assert present.versions == versions
            assert sides_of(connection, [present])[conflict.id] == ({"birthDate": Side.LEGACY} if holds else {})
            assert not list(audit.faults(connection)), "nothing rewrites what the chain of acts has noted"
