"""The hook of the connection type ``medplum``, on Airflow's HTTP hook: its TLS, proxies, headers and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.http.hooks.http import HttpHook
from requests import PreparedRequest, RequestException, Response, Session
from requests.auth import AuthBase
from requests.utils import default_headers, select_proxy

from medferry.errors import MedferryError, SettingsError
from medferry.medplum.errors import AnswerUnfit, RequestRefused, Unauthorised
from medferry.medplum.http import HttpSettings, open_http
from medferry.medplum.oauth import TokenSource
from medferry.runtime.settings import plain_hosts
from medferry_airflow.connections import base_url

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from medferry.medplum.client import MedplumClient

_NOT_PASSED_ON = frozenset({"stream", "allow_redirects", "max_redirects", "check_response", "srv_lookup"})
"""Extras of an HTTP connection that the client has no use for."""

_TEST_SECONDS = 15


class MedplumHook(HttpHook):
    """The Medplum of an Airflow connection: Base URL (host), client id (login), client secret (password).

    The extras are those of an HTTP connection: ``verify`` (the file of an authority), ``cert``, ``proxies``,
    ``timeout``, ``trust_env``; any other name is a header of every request.
    """

    conn_name_attr = "medplum_conn_id"
    default_conn_name = "medplum_default"
    conn_type = "medplum"
    hook_name = "Medplum"

    def __init__(self, medplum_conn_id: str = default_conn_name, method: str = "GET", **kwargs: Any) -> None:
        super().__init__(method, http_conn_id=medplum_conn_id, auth_type=self._bearer, **kwargs)
        self.medplum_conn_id = medplum_conn_id

    def client(self) -> MedplumClient:
        """The core's client, to be used as a context manager. Raises SettingsError for an unusable connection."""
        from medferry.medplum.client import MedplumClient

        connection = self.get_connection(self.medplum_conn_id)
        name, secret = connection.login or "", connection.password or ""
        return MedplumClient(base_url(connection), name, secret, http=self.http_settings())

    def http_settings(self) -> HttpSettings:
        """What the connection says of TLS, proxy, headers and time, for the core's client. Raises SettingsError."""
        extra = self.get_connection(self.medplum_conn_id).extra_dejson
        if unused := sorted(_NOT_PASSED_ON & extra.keys()):
            raise SettingsError(
                f"The connection {self.medplum_conn_id} has the extra {', '.join(unused)}, which cannot be passed on.",
                "Remove it: the client of Medferry decides that by itself.",
            )
        session = self.get_conn()
        usual = default_headers()
        certificate = (session.cert,) if isinstance(session.cert, str) else tuple(session.cert or ())
        return HttpSettings(
            verify=session.verify,
            certificate=certificate,
            proxy=select_proxy(self.base_url, session.proxies) or "",
            headers={name: str(value) for name, value in session.headers.items() if usual.get(name) != value},
            timeout=float(self.merged_extra.get("timeout") or HttpSettings.timeout),
            trust_env=bool(session.trust_env),
            plain_hosts=plain_hosts(),
        )

    def test_connection(self) -> tuple[bool, str]:
        """Fetch a token and the server's metadata; says what is wrong, never a credential."""
        try:
            metadata = self.run("fhir/R4/metadata", extra_options={"timeout": _TEST_SECONDS}).json()
            software, version = metadata.get("software", {}).get("name", "the server"), metadata.get("fhirVersion")
        except MedferryError as error:
            return False, str(error)
        except (RequestException, ValueError, AttributeError) as error:
            return False, f"The token was accepted, but the metadata cannot be read ({type(error).__name__})."
        return True, f"Token accepted; {software} speaks FHIR {version}."

    def run_and_check(self, session: Session, prepped_request: PreparedRequest, extra_options: dict[Any, Any]) -> Any:
        """As the HTTP hook does, which would go after a redirect: to whoever answers in Medplum's place."""
        return super().run_and_check(session, prepped_request, {**extra_options, "allow_redirects": False})

    def check_response(self, response: Response) -> None:
        """Raise by the status alone: the HTTP hook would log the body, which holds patient data.

        Raises RequestRefused, Unauthorised, AnswerUnfit.
        """
        if 300 <= response.status_code < 400:
            raise AnswerUnfit(f"A redirect answered (HTTP {response.status_code}), not Medplum.", "Check the base URL.")
        if response.status_code in (401, 403):
            raise Unauthorised(f"Medplum refused the access (HTTP {response.status_code}).", "Check the access policy.")
        if response.status_code >= 400:
            raise RequestRefused(f"Medplum refused a request: HTTP {response.status_code}.", "See the server's log.")

    def _set_base_url(self, connection: Connection) -> None:
        """HTTPS unless the connection says otherwise, where the HTTP hook would take HTTP."""
        super()._set_base_url(connection)
        self.base_url = base_url(connection).rstrip("/")

    def _bearer(self, client_id: str, client_secret: str) -> AuthBase:
        return _ClientCredentials(self, client_id, client_secret)


class _ClientCredentials(AuthBase):
    """Puts a bearer token into each request of the HTTP hook; fetched when the first is sent."""

    def __init__(self, hook: MedplumHook, client_id: str, client_secret: str) -> None:
        self._hook, self._client_id, self._client_secret = hook, client_id, client_secret
        self._tokens: TokenSource | None = None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._tokens is None:
            http = open_http(self._hook.base_url, self._hook.http_settings())
            self._tokens = TokenSource(http, self._client_id, self._client_secret)
        request.headers["Authorization"] = f"Bearer {self._tokens.token()}"
        return request
