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

PLAIN_HTTP = "MEDFERRY_PLAIN_HTTP"
"""The variable that names the hosts of `HttpSettings.plain_hosts`."""

_LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=32)


@dataclass(frozen=True)
class HttpSettings:
    """What stands between Medferry and Medplum."""

    verify: bool | str = True
    """True: the usual authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR; a text: the file or folder of others;
    False: no check at all."""
    certificate: tuple[str, ...] = ()
    """Medferry's own certificate: file, or file and file of the key."""
    proxy: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    timeout: float = 120.0
    """Seconds without an answer."""
    trust_env: bool = True
    """Whether HTTPS_PROXY, NO_PROXY and the like in the environment count."""
    plain_hosts: tuple[str, ...] = ()
    """Hosts beyond this machine that may be reached without TLS, or without a look at their certificate."""


def open_http(base_url: str, settings: HttpSettings) -> httpx.Client:
    """A client for many threads.

    Raises SettingsError for an unreadable certificate, an unusable address, or one beyond this machine without TLS.
    """
    _refuse_plain(base_url, settings)
    check_address(base_url)
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
            f"A certificate for Medplum cannot be read ({type(error).__name__}).",
            "Check the files of MEDFERRY_MEDPLUM_CA, MEDFERRY_MEDPLUM_CERTIFICATE and its key; in Airflow verify and "
            "cert of the connection.",
        ) from None
    except (httpx.InvalidURL, ValueError):
        raise SettingsError(
            "The address of Medplum, or of the proxy before it, is not usable.", "Write http(s)://host:port."
        ) from None


def check_address(base_url: str) -> None:
    """Raises SettingsError, which quotes nothing, for what Medplum's root cannot be. Asks nobody."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and base_url == base_url.strip()
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable:
        raise SettingsError(
            "The address of Medplum is not usable.",
            "Write http(s)://host:port in MEDFERRY_MEDPLUM_BASE_URL, without quotes or blanks around it.",
        )
    if parts.path.rstrip("/").lower().endswith("/fhir/r4"):
        raise SettingsError(
            "The address of Medplum ends with /fhir/R4, which stands below it.",
            "Leave that away: write the server's own address, http(s)://host:port.",
        )


def _refuse_plain(base_url: str, settings: HttpSettings) -> None:
    """Patients' data and the client's secret go to a known server by TLS, or no further than this machine."""
    secure = base_url.lower().startswith("https://") and settings.verify is not False
    if secure or is_local(base_url) or _host(base_url) in settings.plain_hosts:
        return
    how = "without TLS" if settings.verify is not False else "with certificates that nobody checks"
    raise SettingsError(
        f"Medplum is not on this machine and would be reached {how}.",
        "Write https:// in its address, and name the file of its authority (verify, or MEDFERRY_MEDPLUM_CA). Where the "
        f"way is protected otherwise, name its host in {PLAIN_HTTP} (docs/runbooks/tls.md).",
    )


def _host(url: str) -> str:
    """In small letters; empty where it cannot be told."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_local(url: str) -> bool:
    """Whether an address is of this machine."""
    host = _host(url)
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
