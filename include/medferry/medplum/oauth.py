"""OAuth2 client credentials, cached: Medplum allows 160 token requests a minute and address."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import orjson

from medferry.medplum.errors import (
    AnswerUnfit,
    NotFound,
    NotReached,
    RequestFailed,
    RequestRefused,
    Throttled,
    Unauthorised,
)
from medferry.medplum.form import is_id, read_whole
from medferry.medplum.trust import certificate_refused

_MARGIN_SECONDS = 30.0

_ADDRESS = "MEDFERRY_MEDPLUM_BASE_URL; in Airflow the connection medplum_default"
_CLIENT = "MEDFERRY_MEDPLUM_CLIENT_ID, MEDFERRY_MEDPLUM_CLIENT_SECRET; in Airflow the connection medplum_default"


@dataclass(frozen=True, slots=True)
class Token:
    """What the server gave, and what it said with it."""

    text: str = field(default="", repr=False)
    good_until: float = 0.0
    """On the clock of the source that fetched it."""
    project: str = ""
    profile: str = ""


@dataclass(slots=True)
class SharedToken:
    """The present token of one client id and secret at one server, for all clients that have them, in all threads.

    Whoever needs another fetches it, one at a time; the others wait for it.
    """

    token: Token = field(default_factory=Token)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class TokenSource:
    """A bearer token that is fetched when needed and before it expires; shared by all lanes."""

    def __init__(
        self,
        http: httpx.Client,
        client_id: str,
        client_secret: str,
        shared: SharedToken | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        self.shared = shared or SharedToken()
        self._clock = clock
        self.project = ""
        """Id of the project that the token is of, as the server said when it was fetched here; else empty."""
        self.profile = ""
        """"ClientApplication/<id>": as whom the server takes this client, as it said then; else empty."""

    @property
    def _where(self) -> str:
        """Host and port, without what else an address may hold."""
        return f" at {self._http.base_url.netloc.decode()}"

    def token(self, refused: str | None = None) -> str:
        """The present token; a new one when it is about to expire or is the one that was `refused`.

        Raises Unauthorised when the server does not accept the client id and secret, Throttled, NotReached,
        CertificateRefused.
        """
        with self.shared.lock:
            present = self.shared.token
            if self._clock() >= present.good_until or present.text == refused:
                present = self.shared.token = self._fetch()
                self.project, self.profile = present.project, present.profile
            return present.text

    def _fetch(self) -> Token:
        try:
            with self._http.stream("POST", "oauth2/token", data=self._form) as unread:
                answer = read_whole(unread)
        except httpx.TransportError as error:
            if (refused := certificate_refused(error)) is not None:
                raise refused from None
            raise NotReached(
                f"Medplum's token endpoint did not answer{self._where} ({type(error).__name__}).",
                f"Check that the server runs, and its address ({_ADDRESS}).",
            ) from None
        if answer.status_code == 429:
            raise Throttled(60)
        if answer.status_code >= 500:
            raise NotReached(f"Medplum's token endpoint answered {answer.status_code}{self._where}.", "Try again.")
        if answer.is_redirect or answer.status_code == 404:
            told = "A redirect answered" if answer.is_redirect else "There is no token endpoint of Medplum's"
            raise AnswerUnfit(f"{told}{self._where} (HTTP {answer.status_code}).", f"Check the address ({_ADDRESS}).")
        if answer.status_code != 200:
            raise Unauthorised(
                f"Medplum refused the client id and secret{self._where} (HTTP {answer.status_code}).",
                f"Correct them by Medplum's ClientApplication ({_CLIENT}), then run again. A run that had begun goes "
                "on where it stopped: by --resume, in Airflow by clearing the task.",
            )
        try:
            body = orjson.loads(answer.content)
            lifetime, token = float(body.get("expires_in", 3600)), str(body["access_token"])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise NotReached("Medplum's token endpoint gave no token.", "Check what stands in between.") from None
        good_until = self._clock() + lifetime - min(_MARGIN_SECONDS, lifetime / 2)
        return Token(token, good_until, id_of_project(body.get("project")), reference_to(body.get("profile")))


def project_of(tokens: TokenSource, read: Callable[..., httpx.Response]) -> str:
    """The id of the project that a client is of, as its token told, else ``auth/me``; `read` is the client's own.

    What was said with a token that another client has fetched counts only when the server was asked in vain: another
    server may have come in its place, which refuses that token.
    """
    if tokens.project:
        return tokens.project
    told = id_of_project(_about_me(read, "project"))
    return tokens.project or told or tokens.shared.token.project


def profile_of(tokens: TokenSource, read: Callable[..., httpx.Response]) -> str:
    """As whom a client writes ("ClientApplication/<id>"), found as `project_of` does; empty: nothing says it."""
    if tokens.profile:
        return tokens.profile
    told = reference_to(_about_me(read, "profile"))
    return tokens.profile or told or tokens.shared.token.profile


def _about_me(read: Callable[..., httpx.Response], name: str) -> object:
    """One member of what ``auth/me`` answers; None where the server has no such address. Asking may fetch a token."""
    try:
        body = orjson.loads(read("GET", "auth/me", 0).content)
    except (NotFound, RequestFailed, RequestRefused, ValueError):
        return None
    return body.get(name) if isinstance(body, dict) else None


def id_of_project(project: object) -> str:
    """The id of a project given as a reference or as a resource; empty for anything else."""
    if not isinstance(project, dict):
        return ""
    reference = project.get("reference")
    found = reference.removeprefix("Project/") if isinstance(reference, str) else project.get("id")
    return str(found) if is_id(found) else ""


def reference_to(resource: object) -> str:
    """ "Type/id" of a resource, or of a reference to one; empty for anything else."""
    if not isinstance(resource, dict):
        return ""
    reference = resource.get("reference")
    if not isinstance(reference, str):
        reference = f"{resource.get('resourceType') or ''}/{resource.get('id')}"
    kind, _, id_ = reference.partition("/")
    return reference if kind.isascii() and kind.isalpha() and is_id(id_) else ""
