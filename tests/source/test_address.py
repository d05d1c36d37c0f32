"""A malformed URL never prints its password."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from medferry.errors import MedferryError
from medferry.manifest.database import open_manifest
from medferry.source.database import connect_engine
from medferry.workflows.announce import by_mail

_MALFORMED = (
    "postgresql://user:hush",
    "postgresql://user:a@host:hush/db",
    "postgresql://user:hush@[::1/db",
    "nosuch://user:hush@host/db",
    "postgresql+nosuch://user:hush@host/db",
    "sqlite:////x?timeout=hush",
    "hush",
)


@pytest.mark.parametrize("opened", [connect_engine, open_manifest, lambda url: by_mail(url, "a@b")])
@pytest.mark.parametrize("url", [*_MALFORMED, "smtp://user:a@host:hush", "smtp://user:hush@[::1"])
def test_nothing_of_it_is_printed(opened: Callable[[str], object], url: str) -> None:
    try:
        opened(url)
    except MedferryError as error:
        assert "hush" not in "".join(traceback.format_exception(error))
