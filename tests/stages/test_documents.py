"""A document over the limit of a body is uploaded once, proven and referred to; an answer that got lost is told."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from embedded_medplum.server import EmbeddedMedplum
from medferry.apply.leftovers import Stays
from medferry.definition.migration import load_migration
from medferry.errors import TransientError, VerificationFailed
from medferry.fhir.additions import signed_binary
from medferry.governance.verdict import verdict_of
from medferry.manifest.checks import CheckStatus
from medferry.manifest.crosswalk import find_targets
from medferry.manifest.dead_letters import dead_letters
from medferry.manifest.known_lines import lines_of_ids
from medferry.manifest.leftovers import Leftover, LeftoverKind
from medferry.manifest.tables_of_documents import upload
from medferry.manifest.uploads import UploadState
from medferry.mapping.outcomes import Reason
from medferry.medplum.changes import Change
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.options import LoadMode
from medferry.sync.reverse import FoundKind, Ours, classify
from medferry.sync.stored import stored_resources
from medferry.verification.content import CONTENT
from medferry.verification.documents import OTHERS_THERE, UPLOADED_BYTES
from medferry.verification.leftovers import UPLOADED
from medferry.verification.run import verify_subject
from medferry.workflows.leftovers import _standing
from medferry.workflows.purge import Kept
from tests import tiny_platform
from tests.stages.test_unchanged import change
from tests.workflows.test_migrate import dispositions, migrate
from tests.workflows.test_purge import killed, outcomes, stage, staged

TIMES = 120_000
"""How often a family name is repeated: its letter has 840,000 bytes or more, and 1.1 MB in base64."""

MAPPING = f"""
from base64 import b64encode
from medferry.mapping import mapping

@mapping(entity="staff", version="1", owner="test", produces={{"main": "DocumentReference"}})
def staff(row, ctx):
    letter = b64encode(row["family"].encode() * {TIMES}).decode()
    yield ctx.resource(status="current", content=[{{"attachment": {{"contentType": "text/plain", "data": letter}}}}])
"""
CHECKS = f"""
from: staff s
key: s.id
resources:
  main:
    checks:
      - name: letter
        sql: CAST(replace(hex(zeroblob({TIMES})), '00', s.family) AS BLOB)
        path: content.attachment
        compare: document
        media_type: "'text/plain'"
    constants: {{status: current}}
"""

NO_DOCUMENT_CHECK = """
from: staff s
key: s.id
resources:
  main:
    checks:
      - {name: status, sql: "'current'", path: status, compare: exact}
    by_hash: {content: The letter as it is in the archive.}
"""


@pytest.fixture
def letters(tiny: Environment, tmp_path: Path) -> Environment:
    folder = shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny")
    (folder / "mappings" / "staff.py").write_text(MAPPING, encoding="utf-8")
    (folder / "checks" / "staff.yaml").write_text(CHECKS, encoding="utf-8")
    return Environment(load_migration(folder), tiny.settings)


@pytest.fixture
def faulty(medplum: EmbeddedMedplum) -> Iterator[EmbeddedMedplum]:
    yield medplum
    medplum.inject()


def states(environment: Environment) -> Counter[str]:
    """State → documents that were sent."""
    with environment.manifest.begin() as connection:
        return Counter(connection.execute(sa.select(upload.c.state)).scalars())


def addresses(environment: Environment) -> dict[str, bytes]:
    """The Binary's id of each document's attachment → its bytes."""
    with environment.medplum() as client:
        found = [one["content"][0]["attachment"]["url"] for one in client.search_all("DocumentReference", [])]
        ids = [next(part for part in url.split("?")[0].split("/") if part.count("-") == 4) for url in found]
        return {one: client.binary(one) or b"" for one in ids}


def unresolved(environment: Environment, run_id: str) -> set[str]:
    with environment.manifest.begin() as connection:
        return {one.name for one in verdict_of(connection, run_id).unresolved}


@pytest.mark.parametrize("mode", LoadMode)
def test_a_large_document_is_uploaded_once_for_its_content(letters: Environment, mode: LoadMode) -> None:
    migrate(letters, "first", load_mode=mode)
    assert unresolved(letters, "first") == set()
    first = addresses(letters)
    assert sorted(first.values()) == [b"Lindqvist" * TIMES, b"Okafor" * TIMES]
    assert migrate(letters, "again", load_mode=mode, overwrite=True)["updated"] == 0
    assert states(letters) == {UploadState.PROVEN: 2}
    change(letters, "UPDATE staff SET family = 'Nightingale' WHERE id = 1")
    migrate(letters, "changed", load_mode=mode)
    assert unresolved(letters, "changed") == set()
    second = addresses(letters)
    assert sorted(second.values()) == [b"Lindqvist" * TIMES, b"Nightingale" * TIMES]
    assert len(first.keys() & second.keys()) == 1
    assert states(letters) == {UploadState.PROVEN: 3}


def test_what_was_staged_of_a_large_document_goes_as_everything_else(letters: Environment) -> None:
    stage(letters, "given-up")
    assert staged(letters) == {"given-up/bundles", "given-up/documents"}
    killed(letters, "given-up")
    assert outcomes(letters) == {"given-up": Kept.UNFINISHED}
    migrate(letters, "proven")
    assert unresolved(letters, "proven") == set()
    assert staged(letters) == set()


def put_bytes(environment: Environment, binary: str, content: bytes) -> None:
    """Have a client other than Medferry replace the bytes of a Binary."""
    with environment.medplum() as client:
        client._send("PUT", f"fhir/R4/Binary/{binary}", 100, content=content, headers={"Content-Type": "text/plain"})


def verified(environment: Environment) -> set[tuple[str, str, str]]:
    """(check, example or status, verdict's word) of what is not equal, as things are now."""
    verdict = verify_subject(environment).verdict
    wrong = [one for one in verdict.results if one.name in (UPLOADED_BYTES, OTHERS_THERE)]
    return {(one.name, one.status, one.examples[0].split()[-1] if one.examples else "") for one in wrong}


def unchecked_letters(environment: Environment) -> Environment:
    """The migration whose checks compare no document."""
    (environment.migration.folder / "checks" / "staff.yaml").write_text(NO_DOCUMENT_CHECK, encoding="utf-8")
    return Environment(load_migration(environment.migration.folder), environment.settings)


@pytest.mark.parametrize("checked", [True, False])
def test_bytes_that_somebody_replaced_or_deleted_are_no_proof(letters: Environment, checked: bool) -> None:
    letters = letters if checked else unchecked_letters(letters)
    migrate(letters, "first")
    assert verified(letters) == {(UPLOADED_BYTES, CheckStatus.EQUAL, "")}
    one = min(addresses(letters))
    put_bytes(letters, one, b"another person's letter")
    assert verified(letters) == {(UPLOADED_BYTES, CheckStatus.DIFFERENT, "bytes")}
    with suppress(VerificationFailed):
        migrate(letters, "again")
    assert UPLOADED_BYTES in unresolved(letters, "again")
    migrate(letters, "healed", overwrite=True)
    assert unresolved(letters, "healed") == set()
    other = min(addresses(letters))
    with letters.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Binary/{other}"}}], 100)
    assert verified(letters) == {(UPLOADED_BYTES, CheckStatus.DIFFERENT, "missing")}


def test_a_signed_url_of_another_storage_is_no_content_of_ours(letters: Environment) -> None:
    migrate(letters, "first")
    with letters.medplum() as client:
        [document, *_] = client.search_all("DocumentReference", [])
        attachment = document["content"][0]["attachment"]
        own = str(attachment["url"])
        binary = signed_binary(own)
        attachment["url"] = f"https://old-bucket.example/binary/{binary}?Expires=1&Signature=abc"
        entry = {"resource": document, "request": {"method": "PUT", "url": f"DocumentReference/{document['id']}"}}
        client.batch([entry], 100)
    [found] = [one for one in verify_subject(letters).verdict.results if one.status == CheckStatus.DIFFERENT]
    assert found.name == CONTENT and "other storage" in found.examples[0]
    with suppress(VerificationFailed):
        migrate(letters, "second")
    [letter] = [one for one in dead_letters_of(letters, "second") if one[0] == "staff"]
    assert letter[2:] == (Reason.TARGET_CHANGED, f"DocumentReference/{document['id']}")
    migrate(letters, "healed", overwrite=True)
    assert unresolved(letters, "healed") == set()
    with letters.medplum() as client:
        urls = [one["content"][0]["attachment"]["url"] for one in client.search_all("DocumentReference", [])]
    base = own.partition(str(binary))[0]
    assert len(urls) == 2 and all(url.startswith(base) for url in urls)


def test_nobody_else_takes_a_signed_url_of_another_storage_for_ours(letters: Environment) -> None:
    """Neither the way back, for an echo, nor who removes what is left over, for what nobody has changed."""
    migrate(letters, "first")
    ours = Ours("tiny", letters.migration.naming.base, lambda _: True)
    with letters.medplum() as client:
        for kind in ("another storage", "the same"):
            document = min(client.search_all("DocumentReference", []), key=lambda one: str(one["id"]))
            id_ = document["id"]
            with letters.manifest.begin() as connection:
                [line] = lines_of_ids(connection, "tiny", "DocumentReference", [id_])
                known = find_targets(connection, "tiny", [line.name])[line.name]
            attachment = document["content"][0]["attachment"]
            binary = signed_binary(attachment["url"])
            elsewhere = f"https://old-bucket.example/binary/{binary}?Expires=1&Signature=abc"
            attachment["url"] = elsewhere if kind == "another storage" else f"Binary/{binary}"
            entry = {"resource": document, "request": {"method": "PUT", "url": f"DocumentReference/{id_}"}}
            assert client.batch([entry], 100)[0].version not in ("", line.version_id)
            texts = client.read_each([("DocumentReference", id_)])
            is_ours = kind == "the same"

            [found] = classify(
                letters.manifest, client, ours, "DocumentReference", [Change.of(json.loads(texts[id_][1]))]
            )
            assert found.kind is (FoundKind.ECHO if is_ours else FoundKind.EDIT)

            stored = stored_resources(client, {id_: known}, texts)[id_]
            assert (stored.hash == line.content_hash) is is_ours
            assert stored.content["content"][0]["attachment"]["url"] == (f"Binary/{binary}" if is_ours else elsewhere)

            of_line = (line.system, "DocumentReference", id_, "", LeftoverKind.GONE, line.version_id, line.content_hash)
            leftover = Leftover("staff", line.value, *of_line)
            [judged] = _standing(letters, client, [leftover], {})
            assert str(judged.reason) == (str(None) if is_ours else Stays.CHANGED)


def test_a_document_that_nobody_noted_is_there_and_no_more(letters: Environment) -> None:
    letters = unchecked_letters(letters)
    migrate(letters, "first")
    with letters.manifest.begin() as connection:
        connection.execute(sa.delete(upload))
    assert verified(letters) == {(OTHERS_THERE, CheckStatus.EQUAL, "")}
    with letters.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Binary/{min(addresses(letters))}"}}], 100)
    assert verified(letters) == {(OTHERS_THERE, CheckStatus.DIFFERENT, "missing")}


def test_a_document_that_cannot_be_read_could_not_be_checked(letters: Environment, faulty: EmbeddedMedplum) -> None:
    letters = unchecked_letters(letters)
    migrate(letters, "first")
    faulty.inject({"kind": "error", "next": 1_000, "method": "GET", "path": "/Binary/", "status": 403})
    assert verified(letters) == {(UPLOADED_BYTES, CheckStatus.COULD_NOT_CHECK, "check")}


def test_a_lost_answer_is_told_and_the_document_sent_again(letters: Environment, faulty: EmbeddedMedplum) -> None:
    faulty.inject({"kind": "cut-after", "next": 1, "method": "POST", "path": "/Binary$"})
    with suppress(VerificationFailed):
        migrate(letters, "first")
    assert states(letters) == {UploadState.SENT: 1, UploadState.PROVEN: 2}
    assert dispositions(letters, "first")["shared", "staff"] == {"successful": 2}
    assert unresolved(letters, "first") == {UPLOADED}
    assert sorted(addresses(letters).values()) == [b"Lindqvist" * TIMES, b"Okafor" * TIMES]


def test_what_was_not_stored_is_no_success(letters: Environment, faulty: EmbeddedMedplum) -> None:
    faulty.inject({"kind": "phantom", "next": 1, "method": "POST", "path": "/Binary$"})
    with suppress(VerificationFailed):
        migrate(letters, "first")
    assert states(letters) == {UploadState.REFUSED: 1, UploadState.PROVEN: 1}
    [dead] = [one for one in dead_letters_of(letters, "first") if one[0] == "staff"]
    assert dead[2] == Reason.STORED_DIFFERENTLY
    faulty.inject()
    migrate(letters, "second")
    assert unresolved(letters, "second") == set()
    assert states(letters) == {UploadState.REFUSED: 1, UploadState.PROVEN: 2}


def test_a_killed_workers_document_is_proven_by_the_next(letters: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise TransientError("killed", "")

    with monkeypatch.context() as patched:
        patched.setattr(MedplumClient, "binary_digest", killed)
        with pytest.raises(TransientError):
            migrate(letters, "first")
    assert states(letters) == {UploadState.STORED: 1}
    migrate(letters, "second")
    assert unresolved(letters, "second") == set()
    assert states(letters) == {UploadState.PROVEN: 2}


def test_a_document_that_somebody_deleted_is_uploaded_again(letters: Environment) -> None:
    migrate(letters, "first")
    with letters.medplum() as client:
        gone = next(iter(addresses(letters)))
        client.batch([{"request": {"method": "DELETE", "url": f"Binary/{gone}"}}], 100)
    migrate(letters, "second", overwrite=True)
    assert unresolved(letters, "second") == set()
    assert gone not in addresses(letters)


def test_what_is_too_large_without_a_document_is_told_with_its_size(letters: Environment) -> None:
    mapping = MAPPING.replace('"text/plain", "data": letter', '"text/plain", "title": letter')
    (letters.migration.folder / "mappings" / "staff.py").write_text(mapping, encoding="utf-8")
    large = Environment(load_migration(letters.migration.folder), letters.settings)
    with suppress(VerificationFailed):
        migrate(large, "first")
    found = [one for one in dead_letters_of(large, "first") if one[0] == "staff"]
    assert {one[2] for one in found} == {Reason.TOO_LARGE}
    assert all("bytes" in one[3] for one in found)


def dead_letters_of(environment: Environment, run_id: str) -> list[tuple[str, str, str, str]]:
    """(entity, key, reason, place)."""
    migration = environment.migration
    found = dead_letters(environment.manifest, migration.name, migration.systems, run_id)
    return [(one.entity, one.key, one.reason, one.place) for one in found]
