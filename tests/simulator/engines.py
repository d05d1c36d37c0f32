"""The same simulations on real servers: PostgreSQL or MariaDB, or SQLite, with the embedded Medplum.

The program's time is simulated here, too; theirs is their own. One world goes on from seed to seed, each with records
of its own.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pymysql
import sqlalchemy as sa

from tests import tiny_platform
from tests.simulator.clock import clock, instant
from tests.simulator.http import Wire
from tests.simulator.legacy import COLUMNS, PERSON, PROGRAM
from tests.simulator.medplum import CLIENT, USER, Answer, Medplum, Resource, Version
from tests.simulator.world import World, fill_sqlite, in_step, settings_in, sqlite_users, watch

_LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, pymysql.err.OperationalError)

_REMEMBERED = (
    "CREATE TABLE remembered (id {serial} PRIMARY KEY, entity VARCHAR(20), row_id INTEGER, name VARCHAR(20), "
    "was TEXT, became TEXT, who VARCHAR(20))"
)
_INTO = "INSERT INTO remembered (entity, row_id, name, was, became, who)"


class ServerUsers:
    """The connection of the users of a legacy database on a server, as `sqlite3` has it."""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self.postgresql = parsed.get_backend_name() == "postgresql"
        to = {"host": parsed.host, "port": parsed.port, "user": parsed.username, "password": parsed.password}
        self._connection: Any
        if self.postgresql:
            self._connection = psycopg.connect(
                **{name: value for name, value in to.items() if value}, dbname=parsed.database, autocommit=True
            )
            self.execute(f"SET simulated.who = '{PERSON}'")
            self.execute("SET lock_timeout = '50ms'")
        else:
            self._connection = pymysql.connect(**to, database=parsed.database, autocommit=True)
            self.execute(f"SET @simulated_who = '{PERSON}', SESSION innodb_lock_wait_timeout = 0")

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """A cursor. Raises sqlite3.OperationalError where others hold a lock."""
        cursor = self._connection.cursor()
        text = sql.replace("BEGIN IMMEDIATE", "BEGIN").replace("?", "%s")
        try:
            cursor.execute(text, values or None)
        except _LOCKED:
            raise sqlite3.OperationalError("locked") from None
        return cursor

    def close(self) -> None:
        self._connection.close()


def fill(url: str) -> None:
    """The tiny platform with two patients and a weight of each, whose tables remember."""
    tiny_platform.fill(url)
    users = ServerUsers(url)
    for table, last in (("weight", 1), ("patient", 2)):
        users.execute(f"DELETE FROM {table} WHERE id > {last}")
        users.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
    users.execute(_REMEMBERED.format(serial="SERIAL" if users.postgresql else "INTEGER AUTO_INCREMENT"))
    for table, columns in COLUMNS.items():
        for column in columns:
            (_remember_in_postgresql if users.postgresql else _remember_in_mariadb)(users, table, column)
    users.close()


def _remember_in_postgresql(users: ServerUsers, table: str, column: str) -> None:
    for event, was in (("insert", "NULL"), ("update", f"OLD.{column}")):
        name = f"remember_{table}_{column}_{event}"
        who = f"coalesce(nullif(current_setting('simulated.who', true), ''), '{PROGRAM}')"
        when = f"WHEN (OLD.{column} IS DISTINCT FROM NEW.{column})" if event == "update" else ""
        users.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_INTO} "
            f"VALUES ('{table}', NEW.id, '{column}', {was}, NEW.{column}, {who}); RETURN NULL; END $$"
        )
        users.execute(f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {when} EXECUTE FUNCTION {name}()")


def _remember_in_mariadb(users: ServerUsers, table: str, column: str) -> None:
    for event, was in (("insert", "NULL"), ("update", f"OLD.{column}")):
        when = f"WHERE NOT (OLD.{column} <=> NEW.{column})" if event == "update" else ""
        name, who = f"remember_{table}_{column}_{event}", f"coalesce(@simulated_who, '{PROGRAM}')"
        users.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {_INTO} "
            f"SELECT '{table}', NEW.id, '{column}', {was}, NEW.{column}, {who} FROM DUAL {when}"
        )


@dataclass
class EmbeddedMedplum(Medplum):
    """The embedded one behind the simulated one's face: its one client is both the program and the users."""

    http: httpx.Client = field(default_factory=httpx.Client)
    users: set[str] = field(default_factory=set)
    """Versions that users wrote."""
    ids: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(type, source key) → ids that were ever seen under it."""

    def copied(self) -> None:
        """Nothing is stored and not stored here."""

    def batch(self, bundle: Resource, author: str, extended: bool = False) -> Resource:
        bundle = {"resourceType": "Bundle", "type": "batch", **bundle}
        headers = {"Content-Type": "application/fhir+json"} | ({"X-Medplum": "extended"} if extended else {})
        answer = self.http.post("fhir/R4/", json=bundle, headers=headers)
        answered: Resource = answer.raise_for_status().json()
        for entry in answered["entry"]:
            resource = entry.get("resource", {})
            if author == USER and resource.get("meta"):
                self.users.add(resource["meta"]["versionId"])
            for one in [resource, *(each["resource"] for each in resource.get("entry", []))]:
                self._signed(one)
        return answered

    def history(self, kind: str, id_: str, offset: int, count: int) -> Resource | None:
        form = {"_offset": str(offset), "_count": str(count)}
        answer = self.http.get(f"fhir/R4/{kind}/{id_}/_history", params=form, headers={"X-Medplum": "extended"})
        if answer.status_code != 200:
            return None
        bundle: Resource = answer.json()
        for entry in bundle.get("entry", []):
            self._signed(entry.get("resource", {}))
        return bundle

    def put_slowly(self, kind: str, id_: str, body: Resource, author: str, _: float) -> None:
        """At once: how long a transaction takes is not ours to say here."""
        request = {"method": "PUT", "url": f"{kind}/{id_}"}
        self.batch({"entry": [{"resource": {**body, "id": id_}, "request": request}]}, author)

    def named(self, kind: str, identifier: Resource) -> list[tuple[str, list[Version]]]:
        url = f"{kind}?identifier={identifier['system']}|{identifier['value']}&_count=1000&_fields=id"
        [answer] = self.batch({"entry": [{"request": {"method": "GET", "url": url}}]}, CLIENT)["entry"]
        known = self.ids.setdefault((kind, identifier["value"]), set())
        known |= {one["resource"]["id"] for one in answer["resource"].get("entry", [])}
        return [(id_, self._versions(kind, id_)) for id_ in sorted(known)]

    def _versions(self, kind: str, id_: str) -> list[Version]:
        bundle = self.history(kind, id_, 0, 100)
        assert bundle is not None
        return [_version(entry) for entry in reversed(bundle["entry"])]

    def _signed(self, resource: Resource) -> None:
        meta = resource.get("meta", {})
        if "author" in meta:
            meta["author"] = {"reference": USER if meta.get("versionId") in self.users else CLIENT}


def _version(entry: Answer) -> Version:
    if "resource" not in entry:
        return Version("", 0.0, USER, None)
    resource = entry["resource"]
    meta = {name: value for name, value in resource["meta"].items() if name in ("profile", "security", "source", "tag")}
    return Version(
        resource["meta"]["versionId"], 0.0, resource["meta"]["author"]["reference"], {**resource, "meta": meta}
    )


def medplum_at(base_url: str, client_id: str, client_secret: str) -> EmbeddedMedplum:
    """The embedded one that answers there."""
    http = httpx.Client(base_url=base_url, timeout=60)
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    token = http.post("oauth2/token", data=form).raise_for_status().json()["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"
    return EmbeddedMedplum(lambda: clock.true, instant, http=http)


def open_world(folder: Path, medplum: Medplum, legacy_url: str = "") -> World:
    """The world on a legacy database (none named: one in SQLite) and a Medplum."""
    settings, wire = settings_in(folder, legacy_url), Wire(medplum, watch())
    fill(legacy_url) if legacy_url else fill_sqlite(folder)
    clock.set(1_767_312_000.0)
    migration = in_step(folder, settings, wire)
    users = ServerUsers(legacy_url) if legacy_url else sqlite_users(folder)
    return World(settings, migration, watch(), wire, users)
