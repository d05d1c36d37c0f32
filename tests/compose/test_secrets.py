"""No secret has a default, each is asked for by name, and .env.example says how to make every one."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

import pytest

from tests.compose.conftest import Compose
from tests.compose.environment import COMPOSE_FILE, ROOT, make_environment, required, values, with_defaults

LATER = {"MEDPLUM_CLIENT_ID", "MEDPLUM_CLIENT_SECRET"}
"""Made when Medplum runs: may be empty until then."""


def test_which_may_be_empty() -> None:
    assert {name for name, kind in required().items() if kind == "?"} == LATER
    assert not {name for name in with_defaults() if name.endswith(("PASSWORD", "SECRET", "KEY"))}


def test_example_names_every_variable() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert values(text).keys() >= required().keys()
    optional = with_defaults() - values(text).keys()
    assert all(f"# {name}=" in text for name in optional), optional
    unused = values(text).keys() - required().keys() - with_defaults()
    assert not unused


def test_example_holds_no_secret_and_its_commands_make_all() -> None:
    example = values((ROOT / ".env.example").read_text(encoding="utf-8"))
    first, second = values(make_environment()), values(make_environment())
    for name in required().keys() - LATER:
        assert example[name] == ""
        assert len(first[name]) >= 24
        assert first[name] != second[name]
    for name in example.keys() - required().keys():
        assert first[name] == example[name]


def test_made_secrets_have_their_form() -> None:
    made = values(make_environment())
    assert len(base64.urlsafe_b64decode(made["AIRFLOW_FERNET_KEY"])) == 32
    assert uuid.UUID(made["MEDPLUM_SUPER_ADMIN_CLIENT_ID"]).version == 4
    fit_for_urls = {name for name, value in made.items() if value.replace("-", "").replace("_", "").isalnum()}
    assert {name for name in required() if name.endswith("_DB_PASSWORD")} <= fit_for_urls


@pytest.mark.parametrize("name", sorted(required()))
def test_missing_variable_is_named(name: str, compose: Compose, environment_file: Path, tmp_path: Path) -> None:
    lines = environment_file.read_text().splitlines(keepends=True)
    (tmp_path / "env").write_text("".join(line for line in lines if not line.startswith(f"{name}=")))
    done = compose(tmp_path / "env", "config", "--quiet")
    assert done.returncode != 0
    assert f"{name} in .env" in done.stderr or f"{name} to .env" in done.stderr


@pytest.mark.parametrize("name", sorted(required().keys() - LATER))
def test_empty_secret_is_refused(name: str, compose: Compose, environment_file: Path, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"{environment_file.read_text()}{name}=\n")
    assert compose(tmp_path / "env", "config", "--quiet").returncode != 0


def test_medplum_starts_before_its_client_is_known(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(make_environment())
    assert compose(tmp_path / "env", "config", "--quiet").returncode == 0


def test_no_value_of_a_secret_stands_in_the_file(environment_file: Path) -> None:
    text = COMPOSE_FILE.read_text(encoding="utf-8")
    assert not [name for name in required() if values(environment_file.read_text())[name] in text]
