"""Settings from Airflow's connections, with the environment's MEDFERRY_* variables where there is no connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from medferry.errors import SettingsError
from medferry.medplum.http import HttpSettings
from medferry.plan.model import Plan
from medferry.runtime.settings import Settings, settings_from_environment
from medferry.runtime.several import variables_of
from medferry_airflow.definition import Served, served_as
from medferry_airflow.legacy_connection import legacy_source
from medferry_airflow.names import CAPTURE, LEGACY_WRITER, MEDPLUM, PEPPER, PROBE, STORE


def settings_from_connections(plan: Plan, probes: Iterable[str] = ()) -> Settings:
    """Where the systems are: by connections, as `names` has their ids; else by variables.

    Raises SettingsError when a connection does not hold what it must, or is of none of several migrations.
    """
    settings, served = settings_from_environment(variables_of(plan.name)), served_as(plan.name)
    if source := _find(served, plan.source.connection):
        url, arguments = legacy_source(source)
        settings = replace(settings, source_url=url, source_arguments=arguments)
    if medplum := _find(served, MEDPLUM):
        settings = replace(
            settings,
            medplum_base_url=base_url(medplum),
            medplum_client_id=medplum.login or "",
            medplum_client_secret=medplum.password or "",
            medplum_http=_http_settings(medplum, settings.medplum_http),
        )
    if capture := _find(served, CAPTURE):
        url, arguments = legacy_source(capture)
        settings = replace(settings, capture_url=url, capture_arguments=arguments)
    if writer := _find(served, LEGACY_WRITER):
        url, arguments = legacy_source(writer)
        settings = replace(settings, legacy_writer_url=url, legacy_writer_arguments=arguments)
    for name in probes:
        if probe := _find(served, f"{PROBE}{name}"):
            own = {name: (probe.login or "", probe.password or "")}
            settings = replace(settings, probes={**settings.probes, **own})
    if store := _find(served, STORE):
        options = store.extra_dejson or settings.store_options
        settings = replace(settings, store_keys=_keys(store), store_options=options)
    if pepper := _find(served, PEPPER):
        settings = replace(settings, pepper_keys=_pepper(pepper))
    return settings


def _keys(store: Connection) -> str:
    """Empty where it is there for its extras alone: then the key may come from elsewhere."""
    if not store.password and not store.extra_dejson:
        raise SettingsError(
            f"The connection {store.conn_id} has neither a key nor extras.", "Fill in its field Password, or remove it."
        )
    return store.password or ""


def _pepper(connection: Connection) -> str:
    if not connection.password:
        raise SettingsError(
            f"The connection {connection.conn_id} has no pepper.", "Fill in its field Password, or remove it."
        )
    return connection.password


def _http_settings(medplum: Connection, usual: HttpSettings) -> HttpSettings:
    if not medplum.extra_dejson:
        return usual  # half a second of imports saved, in each task
    from medferry_airflow.hook import MedplumHook

    return MedplumHook(medplum.conn_id).http_settings()


def base_url(connection: Connection) -> str:
    """Medplum's root URL. A host without a scheme (from a connection URI) is taken as HTTPS."""
    host = connection.host or ""
    if not host:
        raise SettingsError(
            f"The connection {connection.conn_id} has no base URL.", "Fill in its field Base URL (or host)."
        )
    if "://" in host:
        return host
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{host}{port}/"


def _find(served: Served, conn_id: str) -> Connection | None:
    """A migration's connection. Raises SettingsError where there is none but one that is of no migration."""
    own = served.connection_of(conn_id)
    if found := _get(own):
        return found
    if own != conn_id and _get(conn_id):
        raise SettingsError(
            f"Airflow has no connection {own}, and its {conn_id} is of none of the several migrations here.",
            f"Make {own} for {served.name}, and remove {conn_id}: docs/runbooks/several_migrations.md.",
        )
    return None


def _get(conn_id: str) -> Connection | None:
    try:
        found: Connection = Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    return found
