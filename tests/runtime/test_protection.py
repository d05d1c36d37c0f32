"""Without a key nothing is staged for a Medplum elsewhere, unless somebody has said so."""

from __future__ import annotations

import logging
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.runtime.protection import PlainStaging, check_protection, protection_of
from medferry.runtime.settings import Settings
from medferry.store.keys import KeyMissing, keyring
from tests.tiny_platform import MIGRATION

KEY = b64encode(b"k" * 32).decode()
LOCAL = [Settings(medplum_base_url=url) for url in ("", "http://127.0.0.1:8103/", "http://localhost/", "http://[::1]/")]
AWAY = Settings(medplum_base_url="https://api.medplum.com/")


@pytest.mark.parametrize("settings", LOCAL)
def test_a_trial_needs_no_key(settings: Settings) -> None:
    check_protection(settings, dry=False)
    assert "no key" in protection_of(settings)


@pytest.mark.parametrize("url", ["https://api.medplum.com/", "http://medplum-server:8103/", "http://127.evil.example/"])
def test_a_run_to_a_medplum_elsewhere_needs_one(url: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(medplum_base_url=url)
    with pytest.raises(PlainStaging, match=r"What to do: Give a key.*MEDFERRY_PLAIN_STAGING=yes"):
        check_protection(settings, dry=False)
    assert "a run is refused" in protection_of(settings)
    with caplog.at_level(logging.WARNING):
        check_protection(settings, dry=True)
        check_protection(replace(settings, plain_staging=True), dry=False)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_with_a_key_it_is_encrypted() -> None:
    settings = replace(AWAY, store_keys=f"{b64encode(bytes(32)).decode()} {KEY}")
    check_protection(settings, dry=False)
    assert protection_of(settings) == f"encrypted (key {keyring(KEY, '').newest.name}, 1 older still read)"


def test_a_key_that_cannot_be_had_stops_a_run_before_it_begins() -> None:
    with pytest.raises(KeyMissing):
        check_protection(replace(LOCAL[1], store_key_file="/nowhere"), dry=True)


def test_plan_check_says_how_rows_are_staged(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    arguments = ["plan", "check", "--migration", str(MIGRATION)]
    for variables, told in (({}, "in plain text"), ({"MEDFERRY_STORE_KEY_FILE": f"{tmp_path}/key"}, "encrypted (key")):
        shown = CliRunner().invoke(app, arguments, env=variables)
        assert f"rows and Bundles are staged {told}" in shown.output
        assert KEY not in shown.output
