"""The legacy database behind an Airflow connection: its SQLAlchemy URL, and arguments for its driver.

Every extra of the connection is passed on or refused by name: an ``ssl`` that got lost would be a plain connection.
PostgreSQL goes by the hook of its provider. MySQL's provider comes with another driver (mysqlclient) than the one from
which `medferry.source.database` gets values as they are, and SQLite needs no provider: theirs are declared here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from airflow.sdk import Connection
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from medferry.errors import SettingsError

LegacySource = tuple[str, dict[str, Any]]
"""A SQLAlchemy URL, and what the driver's ``connect`` is given beside it."""


class Tls(BaseModel):
    """The extra ``ssl`` of a MySQL connection: what PyMySQL makes its TLS context of."""

    model_config = ConfigDict(extra="forbid")

    ca: str | None = None
    capath: str | None = None
    cert: str | None = None
    key: str | None = None
    password: str | None = None
    cipher: str | None = None
    check_hostname: bool | None = None
    verify_mode: bool | str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Tls:
        if not self.model_fields_set:
            raise ValueError("an empty ssl asks for no TLS; name the file of the authority with ca")
        return self


def _parsed(value: Any) -> Any:
    """The provider of MySQL takes ``ssl`` as JSON in a text too, and a connection URI can say it in no other way."""
    return json.loads(value) if isinstance(value, str) else value


class MySqlExtra(BaseModel):
    """The extras of a MySQL or MariaDB connection that PyMySQL takes."""

    model_config = ConfigDict(extra="forbid")

    charset: Literal["utf8mb4"] = "utf8mb4"
    """No other keeps every character."""
    ssl: Annotated[Tls | None, BeforeValidator(_parsed)] = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_key_password: str | None = None
    ssl_disabled: bool | None = None
    ssl_verify_cert: bool | None = None
    ssl_verify_identity: bool | None = None
    unix_socket: str | None = None
    init_command: str | None = None
    bind_address: str | None = None
    program_name: str | None = None
    read_default_file: str | None = None
    read_default_group: str | None = None
    connect_timeout: Annotated[int | None, Field(ge=1)] = None
    read_timeout: Annotated[int | None, Field(ge=1)] = None
    write_timeout: Annotated[int | None, Field(ge=1)] = None

    @model_validator(mode="after")
    def _one_way_to_ask_for_tls(self) -> MySqlExtra:
        if self.ssl and any(name.startswith("ssl_") for name in self.model_fields_set):
            raise ValueError("ssl and ssl_… exclude each other: the driver would pass over one of them")
        return self


class SqliteExtra(BaseModel):
    """The extras of a SQLite connection that can change nothing but waiting and speed."""

    model_config = ConfigDict(extra="forbid")

    timeout: Annotated[float | None, Field(gt=0)] = None
    cached_statements: Annotated[int | None, Field(ge=0)] = None


def legacy_source(connection: Connection) -> LegacySource:
    """Where a connection leads; its extra ``sqlalchemy_url`` wins. Raises SettingsError naming what cannot be used."""
    extra = dict(connection.extra_dejson)
    if given := extra.pop("sqlalchemy_url", None):
        _refuse(connection, extra, "Say it in the extra sqlalchemy_url, which is used as it is.")
        return str(given), {}
    read = _READERS.get(connection.conn_type or "")
    if read is None:
        raise SettingsError(
            f"The connection {connection.conn_id} has the type {connection.conn_type}, which is not known.",
            f"Choose one of {', '.join(sorted(_READERS))}, or give a SQLAlchemy URL in the extra sqlalchemy_url.",
        )
    return read(connection, extra)


def _postgresql(connection: Connection, extra: dict[str, Any]) -> LegacySource:
    """URL by the provider's hook (also its IAM login); extras that are not the hook's own are libpq's."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from psycopg.pq import Conninfo

    arguments = {name: value for name, value in extra.items() if name not in PostgresHook.ignored_extra_options}
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} - {"user", "password", "dbname"}
    unknown = [name for name in arguments if name not in known]
    if "cursor" in extra:  # rows in another shape than the reading of the legacy database expects
        unknown.append("cursor")
    _refuse(connection, unknown, "Remove it, or correct its name: libpq's documentation lists them.")
    try:
        url = PostgresHook(connection=connection).sqlalchemy_url
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The connection {connection.conn_id}: {error}", "Correct this extra.") from None
    return url.render_as_string(hide_password=False), arguments


def _mysql(connection: Connection, extra: dict[str, Any]) -> LegacySource:
    arguments = _checked(connection, MySqlExtra, extra)
    address = (connection.login, connection.password, connection.host, connection.port, connection.schema)
    return sa.URL.create("mysql+pymysql", *address).render_as_string(hide_password=False), arguments


def _sqlite(connection: Connection, extra: dict[str, Any]) -> LegacySource:
    """The file stands in the host, or in the schema (where Airflow puts the path of a URI)."""
    arguments = _checked(connection, SqliteExtra, extra)
    url = sa.URL.create("sqlite", database=connection.host or connection.schema)
    return url.render_as_string(hide_password=False), arguments


_READERS: dict[str, Callable[[Connection, dict[str, Any]], LegacySource]] = {
    "postgres": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
    "sqlite": _sqlite,
}


def _checked(connection: Connection, model: type[BaseModel], extra: dict[str, Any]) -> dict[str, Any]:
    """The extras that are given, as the driver takes them."""
    known = ", ".join(model.model_fields)
    try:
        return model.model_validate(extra).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(step) for step in first["loc"]) or "ssl"
    problem = "is not known" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    raise SettingsError(
        f"The connection {connection.conn_id} has an extra {name} that cannot be passed on: {problem}.",
        f"Correct or remove it. What can be passed on: {known}.",
    )


def _refuse(connection: Connection, names: Collection[str], remedy: str) -> None:
    if names:
        raise SettingsError(
            f"The connection {connection.conn_id} has the extra {', '.join(sorted(names))}, which cannot be passed on.",
            remedy,
        )
