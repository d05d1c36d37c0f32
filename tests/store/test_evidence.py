"""An archive of evidence: whatever is altered, added, taken away or signed by another is found."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.runtime.settings import settings_from_environment
from medferry.store.evidence import (
    DIGESTS,
    PUBLIC_KEY,
    SIGNATURE,
    Altered,
    digest_of_archive,
    publish_evidence,
    verify_evidence,
    write_evidence,
)
from medferry.store.files import Store
from medferry.store.keys import Key, KeyMissing

KEY, OTHER = Key(b"k" * 32), Key(b"o" * 32)
MEMBERS = {"counts.json": b"[1, 2]", "plan.yaml": b"name: tiny"}
WIDE = {"COLUMNS": "300"}
Members = dict[str, bytes]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "evidence" / "tiny-pilot.zip"
    write_evidence(path, MEMBERS, KEY)
    return path


def test_in_an_object_store_it_is_the_same(tmp_path: Path) -> None:
    store, copy = Store("memory://evidence"), tmp_path / "copy.zip"
    signed_by = publish_evidence(store, "tiny-pilot.zip", MEMBERS, KEY)
    copy.write_bytes(store.reading("tiny-pilot.zip").read())
    assert verify_evidence(copy, signed_by) == (signed_by, sorted(MEMBERS))
    assert store.digest("tiny-pilot.zip") == digest_of_archive(copy)


def _read(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path: Path, members: Members) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_as_it_was_written(archive: Path) -> None:
    fingerprint, members = verify_evidence(archive)
    assert members == sorted(MEMBERS) and verify_evidence(archive, fingerprint.upper())[0] == fingerprint
    assert write_evidence(archive, MEMBERS, KEY) == fingerprint != write_evidence(archive, MEMBERS, OTHER)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


PLANTED: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a member": (lambda m: m | {"counts.json": b"[1, 3]"}, "counts.json is altered"),
    "the plan gone": (lambda m: {name: m[name] for name in m if name != "plan.yaml"}, "plan.yaml is missing"),
    "one more": (lambda m: m | {"more.json": b"{}"}, "more.json was added"),
    "a digest": (lambda m: m | {DIGESTS: m[DIGESTS].replace(b"a", b"b")}, "InvalidSignature"),
    "no signature": (lambda m: {name: m[name] for name in m if name != SIGNATURE}, "KeyError"),
    "another key": (lambda m: m | {PUBLIC_KEY: b"00" * 32}, "InvalidSignature"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_alteration_is_found(archive: Path, name: str) -> None:
    alter, told = PLANTED[name]
    _write(archive, alter(_read(archive)))
    with pytest.raises(Altered, match=told):
        verify_evidence(archive)


def test_a_member_twice_a_broken_file_and_another_signer_are_found(archive: Path, tmp_path: Path) -> None:
    fingerprint, _ = verify_evidence(archive)
    whole = archive.read_bytes()
    with pytest.warns(UserWarning), zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("counts.json", b"[1, 2]")
    with pytest.raises(Altered, match="there 2 times"):
        verify_evidence(archive)
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Altered, match="BadZipFile"):
        verify_evidence(archive)
    write_evidence(archive, MEMBERS | {"counts.json": b"[0, 0]"}, OTHER)  # whoever alters it may sign it anew
    told = CliRunner().invoke(app, ["evidence", "verify", str(archive)], env=WIDE)
    assert told.exit_code == 0 and "Whose key that is was not looked at" in told.output
    told = CliRunner().invoke(app, ["evidence", "verify", str(archive), "--signed-by", fingerprint], env=WIDE)
    assert told.exit_code == 1 and "signed by the key" in told.output
    with pytest.raises(Altered):
        verify_evidence(tmp_path / "none.zip")


def test_the_key_comes_from_a_file_or_a_command(tmp_path: Path) -> None:
    text = base64.b64encode(KEY.material).decode()
    (tmp_path / "key").write_text(text)
    by_file = settings_from_environment({"MEDFERRY_EVIDENCE_KEY_FILE": f"{tmp_path}/key"})
    by_command = settings_from_environment({"MEDFERRY_EVIDENCE_KEY_COMMAND": f"echo {text}"})
    assert by_file.evidence_key == by_command.evidence_key == KEY and text not in repr(by_command)
    with pytest.raises(KeyMissing, match="no key to sign the evidence"):
        assert settings_from_environment({}).evidence_key
    nowhere = settings_from_environment({"MEDFERRY_EVIDENCE_KEY_FILE": f"{tmp_path}/none"})
    with pytest.raises(KeyMissing, match="Correct MEDFERRY_EVIDENCE_KEY_FILE"):
        assert nowhere.evidence_key
