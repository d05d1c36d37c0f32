"""A wrong password, a wrong name, a dead port and a refused query are four things to whoever must act."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.errors import SettingsError, SourceError, SourceUnavailable
from medferry.source.database import connect_engine, snapshot


def told(url: sa.URL, statement: str = "SELECT 1") -> str:
    engine = connect_engine(url.render_as_string(hide_password=False))
    try:
        with (
            pytest.raises((SettingsError, SourceError, SourceUnavailable)) as raised,
            snapshot(engine) as connection,
        ):
            connection.execute(sa.text(statement))
    finally:
        engine.dispose()
    assert "secret" not in str(raised.value)
    return f"{type(raised.value).__name__}: {raised.value}"


def test_what_is_wrong_is_told_apart(url: str) -> None:
    right = sa.make_url(url)
    assert told(right, "SELECT secret FROM nowhere").startswith("SourceError: The legacy database refused a query")
    if right.get_backend_name() == "sqlite":
        return
    assert told(right.set(password="secret")).startswith("SettingsError: The legacy database refused the account")
    assert told(right.set(username="nobody")).startswith("SettingsError: The legacy database refused the account")
    assert told(right.set(port=1)).startswith("SourceUnavailable: The legacy database did not answer")
    assert "Check host and port" in told(right.set(port=1))
    other = told(right.set(database="secret_name"))  # MariaDB tells an account without rights nothing of its names
    assert other.startswith("SettingsError: The legacy database ")


def test_a_file_that_is_not_there_is_named_by_its_connection(tmp_path: Path) -> None:
    missing = sa.make_url(f"sqlite:///{tmp_path}/no/such/file.db")
    assert told(missing).startswith(f"SettingsError: There is no file {missing.database} with the legacy database")
