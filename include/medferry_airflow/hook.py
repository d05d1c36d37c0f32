"""The hook of the connection type ``medplum``: a client for tasks of one's own, and the form's Test button."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from medferry.medplum.client import MedplumClient


class MedplumHook(BaseHook):
    """Opens the Medplum of an Airflow connection: Base URL (host), client id (login), client secret (password)."""

    conn_name_attr = "medplum_conn_id"
    default_conn_name = "medplum_default"
    conn_type = "medplum"
    hook_name = "Medplum"

    def __init__(self, medplum_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.medplum_conn_id = medplum_conn_id

    def get_conn(self) -> MedplumClient:
        """A client, to be used as a context manager. Raises SettingsError when the connection has no base URL."""
        from medferry.medplum.client import MedplumClient
        from medferry_airflow.connections import base_url

        connection = self.get_connection(self.medplum_conn_id)
        return MedplumClient(base_url(connection), connection.login or "", connection.password or "")

    def test_connection(self) -> tuple[bool, str]:
        """Fetch a token and the server's metadata; says what is wrong, never a credential."""
        import httpx

        from medferry.errors import MedferryError
        from medferry.medplum.oauth import TokenSource
        from medferry_airflow.connections import base_url

        connection = self.get_connection(self.medplum_conn_id)
        try:
            with httpx.Client(base_url=base_url(connection), timeout=15) as http:
                token = TokenSource(http, connection.login or "", connection.password or "").token()
                answer = http.get("fhir/R4/metadata", headers={"Authorization": f"Bearer {token}"})
                metadata = answer.raise_for_status().json()
        except MedferryError as error:
            return False, str(error)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return False, f"The token was accepted, but the metadata cannot be read ({type(error).__name__})."
        software = metadata.get("software", {}).get("name", "the server")
        return True, f"Token accepted; {software} speaks FHIR {metadata.get('fhirVersion')}."
