"""How the client talks HTTP: TLS, proxy, headers, time. In Airflow the connection of Medplum says it."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx

from medferry.errors import SettingsError

_LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=32)


@dataclass(frozen=True)
class HttpSettings:
    """What stands between Medferry and Medplum."""

    verify: bool | str = True
    """True: the system's authorities; a text: the file or folder of others; False: no check at all."""
    certificate: tuple[str, ...] = ()
    """Medferry's own certificate: file, or file and file of the key."""
    proxy: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    timeout: float = 120.0
    """Seconds without an answer."""
    trust_env: bool = True
    """Whether HTTPS_PROXY, NO_PROXY and the like in the environment count."""


def open_http(base_url: str, settings: HttpSettings) -> httpx.Client:
    """A client for many threads. Raises SettingsError for an unreadable certificate or an unusable address."""
    try:
        return httpx.Client(
            base_url=base_url.rstrip("/") + "/",
            timeout=settings.timeout,
            limits=_LIMITS,
            verify=_tls(settings.verify, settings.certificate),
            proxy=settings.proxy or None,
            headers=dict(settings.headers),
            trust_env=settings.trust_env,
        )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"A certificate for Medplum cannot be read ({type(error).__name__}).", "Check verify and cert."
        ) from None
    except (httpx.InvalidURL, ValueError):
        raise SettingsError(
            "The address of Medplum, or of the proxy before it, is not usable.", "Write http(s)://host:port."
        ) from None


def is_local(url: str) -> bool:
    """Whether an address is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def query_text(parameters: Iterable[tuple[str, str]]) -> str:
    """Search parameters as a query; what may stand in one is not escaped, which would cost the most of a look-up."""
    return urlencode(list(parameters), safe=",|:/")


@cache
def _tls(verify: bool | str, certificate: tuple[str, ...]) -> ssl.SSLContext:
    """Read once: reading all authorities takes longer than many a request."""
    if isinstance(verify, str):
        folder = Path(verify).is_dir()
        context = ssl.create_default_context(cafile=None if folder else verify, capath=verify if folder else None)
    else:
        context = httpx.create_ssl_context(verify=verify)
    if certificate:
        context.load_cert_chain(*certificate)
    return context
