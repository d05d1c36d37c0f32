"""Where stored files are: a folder, or an object store, which fsspec reaches by a package (s3fs, gcsfs, adlfs).

Those packages raise errors of their own, of the libraries below them, and OSErrors whose text is the server's. Each
call is told apart here by type, HTTP status and errno, for all of them alike and without importing any: what is silent
is tried again, what is refused needs a person. No text of theirs goes on.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import fsspec
from fsspec.registry import known_implementations

from medferry.errors import MedferryError, SettingsError, TransientError

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""Protocols without folders: nothing has to be made before a file, and their packages would make a missing bucket."""

logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
"""It logs each failure with the server's words; what fails is told below."""

_OPTIONS = "the extras of the connection medferry_store, MEDFERRY_STORE_OPTIONS or the packages' own variables"
_MANUAL = "docs/runbooks/scale_out.md"


class StoreUnavailable(TransientError):
    """The object store did not answer, or said that it cannot at present."""


class StoreRefused(MedferryError):
    """The object store refuses what was asked: credentials, rights, address or options are wrong."""


class BucketMissing(MedferryError):
    """There is no such bucket or container; none is ever made."""


def open_place(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """File system and root, which ends without a slash; the options are for what is not on this machine.

    Raises SettingsError for a package that is not installed, an unknown protocol, and options that do not fit.
    """
    protocol = protocol_of(url)
    if protocol in ("file", "local"):
        filesystem, root = fsspec.core.url_to_fs(url)
        return filesystem, root.rstrip("/")
    # Other workers write there, too: a list that was kept would deny what has come since.
    fresh = {"use_listings_cache": False} if protocol in OBJECT_STORES else {}
    try:
        filesystem, root = fsspec.core.url_to_fs(url, **fresh, **options)
    except ImportError:
        raise SettingsError(
            f"{protocol}:// needs a package that is not installed.",
            f"{_how_to_install(protocol)} The image of docker/Dockerfile has s3fs, gcsfs and adlfs.",
        ) from None
    except Exception as error:  # noqa: BLE001 -- of whichever package; its text may quote an option
        raise SettingsError(
            f"{_bucket(url)} cannot be opened ({type(error).__name__}).", f"Correct the URL, or {_OPTIONS}: {_MANUAL}."
        ) from None
    return Remote(filesystem, _bucket(url)), root.rstrip("/")


def _how_to_install(protocol: str) -> str:
    known = known_implementations[protocol]
    package = re.split("[.:]", known["class"])[0]
    return f"Install {package}." if package != "fsspec" else f"{known.get('err', 'Install it')}."


def protocol_of(url: str) -> str:
    """ "s3" of ``s3://bucket/folder``; "file" of a path."""
    return url.partition("://")[0] if "://" in url else "file"


def without_account(url: str) -> str:
    """A URL, or the path of a folder, as it may be told: without an account and a password that stand in it."""
    protocol, found, rest = url.partition("://")
    host, slash, folder = rest.partition("/")
    return f"{protocol}://{host.rpartition('@')[2]}{slash}{folder}" if found else url


def _bucket(url: str) -> str:
    """Protocol and bucket (or host), as they may be told."""
    return "/".join(without_account(url).split("/", 3)[:3])


class Remote:
    """A file system or a file of one, each of whose calls raises FileNotFoundError or an error of ours."""

    def __init__(self, target: Any, place: str, writes: bool = False) -> None:
        self._target, self._place, self._writes = target, place, writes

    def open(self, path: str, mode: str, **options: Any) -> Remote:
        return Remote(self._asked(self._target.open, path, mode, **options), self._place, writes="w" in mode)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return (lambda *args, **named: self._asked(found, *args, **named)) if callable(found) else found

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._asked(self._target.close)
            return
        with suppress(Exception):  # what has stopped the writing is what is told
            self._target.close()

    def _asked(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except Exception as error:  # noqa: BLE001 -- of whichever package
            told = _told(error, self._place, self._writes)
        raise told  # outside the handler: the first error, whose text is the server's, is not even its context


class _Kind(Enum):
    SILENT = auto()
    REFUSED = auto()
    MISSING = auto()


_SILENT = frozenset({
    "botocore.HTTPClientError", "botocore.ConnectionError", "botocore.ResponseParserError", "aiohttp.ClientError",
    "requests.RequestException", "azure.ServiceRequestError", "azure.ServiceResponseError", "google.TransportError",
    "builtins.ConnectionError", "builtins.TimeoutError", "fsspec.FSTimeoutError", "asyncio.TimeoutError",
})  # fmt: skip
_UNKNOWN_CALLER = frozenset({
    "botocore.NoCredentialsError", "botocore.PartialCredentialsError", "azure.ClientAuthenticationError",
    "google.GoogleAuthError",
})  # fmt: skip
_SILENT_ERRNOS = frozenset({errno.EBUSY, errno.EREMOTEIO, errno.ETIMEDOUT})
"""As s3fs tells 503, 409 and 500."""


def _told(error: Exception, place: str, writes: bool) -> Exception:
    """What is raised in the place of an error; `writes`: of a file being written, whose bucket must be there."""
    chain = list(_chain(error))
    kind = next((found for one in chain if (found := _kind(one))), None) or _kind_of_os(error)
    what = _described(chain)
    if kind is _Kind.SILENT:
        return StoreUnavailable(
            f"{place} does not answer, or cannot at present ({what}).",
            "Check that the object store runs and is reached from every worker; the task is tried again.",
        )
    if kind is _Kind.MISSING and not writes:
        return FileNotFoundError(errno.ENOENT, "not found")
    if kind is _Kind.MISSING:
        return BucketMissing(
            f"There is no bucket or container {place}.",
            "Make it, or correct the URL (MEDFERRY_STAGING_URL, MEDFERRY_REPORT_FOLDER): none is made by itself.",
        )
    return StoreRefused(
        f"{place} refuses what was asked ({what}).",
        f"Correct credentials, rights, region or address: {_OPTIONS} ({_MANUAL} names the rights).",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _kind(error: BaseException) -> _Kind | None:
    """By its type or HTTP status; None: they tell nothing."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    if (isinstance(error, OSError) and error.errno in _SILENT_ERRNOS) or names & _SILENT:
        return _Kind.SILENT
    if names & _UNKNOWN_CALLER:
        return _Kind.REFUSED
    status = _status(error)
    if status is None:
        return None
    if status in (404, 410):
        return _Kind.MISSING
    return _Kind.SILENT if status in (408, 429) or status >= 500 else _Kind.REFUSED


def _kind_of_os(error: Exception) -> _Kind:
    """Of an error that came from nothing else; what is not known is for a person."""
    return _Kind.MISSING if isinstance(error, FileNotFoundError) else _Kind.REFUSED


def _status(error: BaseException) -> int | None:
    """The HTTP status, where botocore, aiohttp, gcsfs and azure keep it."""
    response = getattr(error, "response", None)
    kept = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, Mapping) else None
    found = (kept, *(getattr(error, name, None) for name in ("status_code", "code", "status")))
    return next((one for one in found if isinstance(one, int) and 100 <= one < 600), None)


def _described(chain: list[BaseException]) -> str:
    """Type, HTTP status and the server's word for it, such as AccessDenied: never a sentence of theirs."""
    words = [type(chain[0]).__name__]
    words += [f"HTTP {status}" for one in chain if (status := _status(one))][:1]
    return ", ".join(dict.fromkeys([*words, *filter(None, map(_word, chain))]))


def _word(error: BaseException) -> str:
    response = getattr(error, "response", None)
    told = response.get("Error", {}).get("Code") if isinstance(response, Mapping) else None
    word = str(told or getattr(error, "error_code", None) or "")
    return word if re.fullmatch("[A-Za-z]{3,40}", word) else ""
