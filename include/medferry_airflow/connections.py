"""Settings from Airflow's connections, with the environment's MEDFERRY_* variables where there is no connection."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from medferry.errors import SettingsError
from medferry.plan.model import Plan
from medferry.runtime.settings import Settings, settings_from_environment

MEDPLUM = "medplum_default"
"""The connection id of Medplum."""

_DIALECTS = {"postgres": "postgresql", "mariadb": "mysql"}
"""Airflow's connection types whose SQLAlchemy dialect has another name."""


def settings_from_connections(plan: Plan) -> Settings:
    """Where the systems are: the plan's source connection, ``medplum_default``, the rest from the environment.

    Raises SettingsError when a connection does not hold what it must.
    """
    settings = settings_from_environment()
    if source := _find(plan.source.connection):
        settings = replace(settings, source_url=source_url(source))
    if medplum := _find(MEDPLUM):
        settings = replace(
            settings,
            medplum_base_url=base_url(medplum),
            medplum_client_id=medplum.login or "",
            medplum_client_secret=medplum.password or "",
        )
    return settings


def source_url(connection: Connection) -> str:
    """A connection of any SQL type as SQLAlchemy URL; its extra ``sqlalchemy_url`` wins.

    SQLite's file stands in the host, or in the schema (where Airflow puts the path of a URI). Other text extras
    become the URL's query (``sslmode=require``).
    """
    extra = connection.extra_dejson
    if given := extra.get("sqlalchemy_url"):
        return str(given)
    query = {name: value for name, value in extra.items() if isinstance(value, str)}
    dialect = connection.conn_type or ""
    dialect = _DIALECTS.get(dialect, dialect)
    if dialect == "sqlite":
        url = sa.URL.create(dialect, database=connection.host or connection.schema, query=query)
    else:
        url = sa.URL.create(
            dialect,
            connection.login,
            connection.password,
            connection.host,
            connection.port,
            connection.schema,
            query,
        )
    return url.render_as_string(hide_password=False)


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


def _find(conn_id: str) -> Connection | None:
    try:
        found: Connection = Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    return found
