"""Where keys come from; what is no key is refused, and never shown."""

from __future__ import annotations

import shlex
import sys
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest

from medferry.errors import SettingsError
from medferry.runtime.settings import Settings, settings_from_environment
from medferry.store.keys import KeyMissing, keyring, keys_from

ONE, TWO = bytes(32), b"\xfb" * 32


def told(key: bytes) -> str:
    return b64encode(key).decode()


def test_the_last_key_is_the_newest() -> None:
    found = keyring(f"# 2026-01-01\n{told(ONE)}\n\n# since March\n  {urlsafe_b64encode(TWO).decode()}\n", "here")
    assert [key.material for key in found.keys] == [ONE, TWO]
    assert found.newest.material == TWO


@pytest.mark.parametrize("text", ["", "# none\n", "hunter2", told(ONE[:31]), told(ONE + b"x"), f"{told(ONE)} geheim"])
def test_what_is_no_key_is_told_by_its_place(text: str) -> None:
    with pytest.raises(KeyMissing, match="in the vault") as caught:
        keyring(text, "the vault")
    assert not any(word in str(caught.value) for word in text.split() if word not in "# none")


def test_keys_come_from_a_file_or_a_command(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(told(TWO))
    by_file = settings_from_environment({"MEDFERRY_STORE_KEY_FILE": str(file)}).keys
    command = shlex.join([sys.executable, "-c", f"print({told(TWO)!r})"])
    by_command = settings_from_environment({"MEDFERRY_STORE_KEY_COMMAND": command}).keys
    by_connection = Settings(store_keys=told(TWO)).keys
    assert by_file == by_command == by_connection == keyring(told(TWO), "")
    assert settings_from_environment({}).keys is None


FAULTS = {
    "both": ({"file": "x", "command": "y"}, "from file and command at once"),
    "no file": ({"file": "/nowhere/keys"}, "cannot be read"),
    "no command": ({"command": "/nowhere/vault"}, "failed"),
    "open quote": ({"command": "vault 'x"}, "failed"),
    "failed": ({"command": f"{sys.executable} -c 'raise SystemExit(\"secret\")'"}, "ended with 1"),
    "silent": ({"command": f"{sys.executable} -c 0"}, "no key in the output"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_key_that_cannot_be_had_is_told(fault: str) -> None:
    named, problem = FAULTS[fault]
    with pytest.raises(KeyMissing, match=problem) as caught:
        keys_from(**named)
    assert "secret" not in str(caught.value)


def test_settings_do_not_show_keys() -> None:
    settings = Settings(store_keys=told(TWO), store_key_command=f"echo {told(TWO)}")
    assert told(TWO) not in repr(settings)


def test_plain_staging_is_allowed_by_a_clear_word_only() -> None:
    assert settings_from_environment({"MEDFERRY_PLAIN_STAGING": "yes"}).plain_staging
    assert not settings_from_environment({"MEDFERRY_PLAIN_STAGING": "no"}).plain_staging
    with pytest.raises(SettingsError, match="neither yes nor no"):
        settings_from_environment({"MEDFERRY_PLAIN_STAGING": "maybe"})
