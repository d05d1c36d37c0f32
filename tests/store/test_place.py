"""What an object store that fails, refuses or is not there becomes: an error with a name and no word of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from medferry.errors import MedferryError, SettingsError, TransientError
from medferry.runtime.protection import check_protection
from medferry.runtime.settings import Settings, settings_from_environment
from medferry.runtime.staging import Staging, StagingArea, dump_row
from medferry.store.files import Store
from medferry.store.place import BucketMissing, StoreRefused, StoreUnavailable, _bucket, _told, without_account
from medferry.store.values import Pointer, ValueMissing, ValueStore
from tests.s3 import S3Server, s3_server

ROWS = [dump_row({"name": "Canary"})]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture
def s3(server: S3Server) -> Iterator[S3Server]:
    yield server
    server.status = 0
    server.start()


@pytest.fixture
def staging(s3: S3Server) -> Staging:
    """With a file of rows."""
    found = Staging(f"s3://{s3.bucket()}/area", "r", options=s3.options)
    found.write_rows("s", ROWS)
    return found


def acts(staging: Staging) -> list[Callable[[], Any]]:
    """Everything that is done with an object store."""
    area = StagingArea(staging.url, staging.options)
    return [
        lambda: staging.write_rows("s", ROWS),
        lambda: list(staging.read_rows("s")),
        area.folders,
        area.owner,
        lambda: area.claim("manifest"),
        lambda: Store(staging.url, None, staging.options).remove("r/rows/s"),
    ]


def error_of(act: Callable[[], Any]) -> MedferryError:
    with pytest.raises(MedferryError) as caught:
        act()
    told = str(caught.value)
    assert caught.value.remedy and not any(word in told for word in ("Canary", "canary", "storage-secret"))
    return caught.value


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_store_that_cannot_at_present_is_tried_again_and_heals(s3: S3Server, staging: Staging, status: int) -> None:
    s3.status = status
    for act in acts(staging):
        error = error_of(act)
        assert type(error) is StoreUnavailable and isinstance(error, TransientError)
        assert f"HTTP {status}" in str(error)
    s3.status = 0
    assert staging.write_rows("s", ROWS) == len(list(staging.read_rows("s"))) == 1


def test_a_store_that_nobody_reaches_is_tried_again_and_heals(s3: S3Server, staging: Staging) -> None:
    s3.stop()
    assert {type(error_of(act)) for act in acts(staging)} == {StoreUnavailable}
    s3.start()
    assert staging.write_rows("s", ROWS) == len(list(staging.read_rows("s"))) == 1


def test_a_failure_leaves_the_former_file(s3: S3Server, staging: Staging) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        s3.status = 503
        yield b"more"

    error_of(lambda: staging.write_rows("s", broken()))
    s3.status = 0
    assert [line for line, _ in staging.read_rows("s")] == ROWS


def test_what_stops_the_writing_is_told_also_where_the_store_fails_with_it(s3: S3Server, staging: Staging) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        s3.status = 503
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        staging.write_rows("s", broken())


def test_wrong_credentials_are_named_and_not_tried_again(s3: S3Server, staging: Staging) -> None:
    for options in ({**s3.options, "key": "WRONG"}, {"endpoint_url": s3.url}):
        for act in acts(Staging(staging.url, "r", options=options)):
            error = error_of(act)
            assert type(error) is StoreRefused and "medferry_store" in error.remedy
    error = error_of(lambda: Staging(staging.url, "r", options={**s3.options, "key": "WRONG"}).write_rows("s", ROWS))
    assert "HTTP 403, InvalidAccessKeyId" in str(error)


def test_a_wrong_bucket_is_named_and_not_made(s3: S3Server) -> None:
    url = "s3://nobody-has-made-it/area"
    error = error_of(lambda: StagingArea(url, s3.options).claim("manifest"))
    assert type(error) is BucketMissing and "s3://nobody-has-made-it" in str(error)
    assert not s3.filesystem.exists("nobody-has-made-it")


def test_options_that_do_not_fit_are_refused(s3: S3Server, staging: Staging) -> None:
    for wrong in ("no_such_option", "endpoint_url"):
        refused = Staging(staging.url, "r", options={**s3.options, wrong: "canary"})
        assert type(error_of(partial(refused.write_rows, "s", ROWS))) is StoreRefused


def test_what_another_worker_has_written_since_is_seen(s3: S3Server, staging: Staging) -> None:
    area = StagingArea(staging.url, staging.options)
    assert [folder.name for folder in area.folders()] == ["r"]
    s3.filesystem.pipe_file(f"{staging.url}/q/rows/s.ndjson.gz", b"x")
    assert list(area.folders()[0].sizes) == ["q/rows/s.ndjson.gz"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = sys.modules["fsspec.registry"]._registry
    for protocol, package in (("gs", "gcsfs"), ("s3", "s3fs"), ("az", "adlfs"), ("ssh", "paramiko")):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(known, protocol, raising=False)
        error = error_of(partial(Staging(f"{protocol}://bucket/area", "r").write_rows, "s", ROWS))
        assert type(error) is SettingsError and package in error.remedy


def test_an_unknown_protocol_is_refused() -> None:
    assert type(error_of(lambda: StagingArea("s4://bucket").owner())) is SettingsError


@pytest.mark.parametrize("package", ["s3fs", "gcsfs", "adlfs"])
def test_the_packages_of_the_object_stores_are_there(package: str) -> None:
    __import__(package)


def test_the_options_come_from_the_environment_and_are_never_shown() -> None:
    settings = settings_from_environment({"MEDFERRY_STORE_OPTIONS": '{"secret": "canary"}'})
    assert settings.store_options == {"secret": "canary"}
    assert not any("canary" in repr(one) for one in (settings, Staging("s3://b", "r", options={"secret": "canary"})))
    for text in ("canary", '["canary"]', '{"canary'):
        with pytest.raises(SettingsError, match="is no JSON object") as caught:
            settings_from_environment({"MEDFERRY_STORE_OPTIONS": text})
        assert "canary" not in str(caught.value)


def test_an_account_in_the_url_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    url = "memory://somebody:canary@host/folder"
    assert (_bucket(url), without_account(url)) == ("memory://host", "memory://host/folder")
    for same in ("s3://bucket/area@x/y", "build/staging", "/srv/a@b", "memory://host"):
        assert without_account(same) == same
    with pytest.raises(ValueMissing, match="memory://host/folder") as caught:
        ValueStore(url).get(Pointer("@values/aa/aa", "d"))
    check_protection(Settings(medplum_base_url="https://medplum.example", staging_url=url, plain_staging=True), False)
    assert "host/folder" in caplog.text and "canary" not in f"{caught.value} {caplog.text}"


def gcs_errors() -> list[tuple[Exception, type[Exception]]]:
    import aiohttp
    import google.auth.exceptions
    import requests
    from gcsfs.retry import HttpError

    return [
        (HttpError({"code": 503, "message": "canary"}), StoreUnavailable),
        (HttpError({"code": 429, "message": "canary"}), StoreUnavailable),
        (HttpError({"code": 401, "message": "canary"}), StoreRefused),
        (HttpError({"code": 404, "message": "canary"}), FileNotFoundError),
        (OSError("Forbidden: canary"), StoreRefused),
        (requests.exceptions.ProxyError(), StoreUnavailable),
        (aiohttp.ClientConnectionError("canary"), StoreUnavailable),
        (google.auth.exceptions.DefaultCredentialsError("canary"), StoreRefused),  # type: ignore[no-untyped-call]
        (google.auth.exceptions.TransportError("canary"), StoreUnavailable),  # type: ignore[no-untyped-call]
        (ValueError("Bad Request: canary"), StoreRefused),
    ]


def test_a_package_that_logs_the_server_s_words_is_silent() -> None:
    import gcsfs.retry

    assert not gcsfs.retry.logger.isEnabledFor(logging.ERROR)


def azure_errors() -> list[tuple[Exception, type[Exception]]]:
    from azure.core import exceptions

    def answered(status: int) -> exceptions.HttpResponseError:
        error = exceptions.HttpResponseError("canary")
        error.status_code = status
        return error

    def wrapped(cause: Exception) -> RuntimeError:
        error = RuntimeError("Failed to upload block: canary")
        error.__cause__ = cause
        return error

    return [
        (answered(503), StoreUnavailable),
        (answered(403), StoreRefused),
        (wrapped(answered(503)), StoreUnavailable),
        (wrapped(exceptions.ServiceRequestError("canary")), StoreUnavailable),
        (exceptions.ServiceResponseError("canary"), StoreUnavailable),
        (exceptions.ClientAuthenticationError("canary"), StoreRefused),
        (FileNotFoundError("canary"), FileNotFoundError),
    ]


@pytest.mark.parametrize(
    ("error", "kind"), [*gcs_errors(), *azure_errors()], ids=lambda one: getattr(one, "__name__", type(one).__name__)
)
def test_errors_of_the_other_packages_are_told_apart_alike(error: Exception, kind: type[Exception]) -> None:
    told = _told(error, "gs://bucket", writes=False)
    assert type(told) is kind and "canary" not in str(told)
    if kind is FileNotFoundError:
        assert type(_told(error, "gs://bucket", writes=True)) is BucketMissing
