"""The two systems as an application's users have them: plain SQL, plain FHIR over HTTP. Nothing here is Medferry's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tests.cutover.routed_clients import NoAnswer, Refused

TRIES = 20
REFUSAL = "is closed while it moves to Medplum"
"""What the legacy application is told; SQLite cannot name the unit in between."""


@dataclass(frozen=True, slots=True)
class LegacyTable:
    """A number in a column of a table, one row a record. `thinks`: seconds between the write and its commit."""

    engine: sa.Engine
    table: str
    key: str
    column: str
    thinks: float = 0.0

    def write(self, record: str, value: int) -> int:
        """One transaction; returns what it replaced. Raises Refused; NoAnswer, also where it was surely undone."""
        read = sa.text(f"SELECT {self.column} FROM {self.table} WHERE {self.key} = :key")
        change = sa.text(f"UPDATE {self.table} SET {self.column} = :value WHERE {self.key} = :key")
        try:
            with self.engine.begin() as connection:
                replaced = int(connection.execute(read, {"key": int(record)}).scalar_one())
                connection.execute(change, {"value": value, "key": int(record)})
                time.sleep(self.thinks)
            return replaced
        except DBAPIError as error:
            raise (Refused() if REFUSAL in str(error.orig) else NoAnswer()) from None

    def all(self) -> dict[str, int]:
        """Every record's number now."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.text(f"SELECT {self.key}, {self.column} FROM {self.table}"))
            return {str(key): int(value) for key, value in rows if value is not None}


@dataclass(frozen=True, slots=True)
class MedplumField:
    """A number in a place of the resource that has the record's key as an identifier of `system`.

    `client` carries a user's token. A user reads, changes, and writes back unless somebody else did meanwhile.
    """

    client: httpx.Client
    resource_type: str
    system: str
    get: Callable[[dict[str, Any]], int]
    put: Callable[[dict[str, Any], int], None]

    def write(self, record: str, value: int) -> int:
        """What it replaced. Raises Refused, NoAnswer."""
        try:
            for _ in range(TRIES):
                if (replaced := self._written(record, value)) is not None:
                    return replaced
        except httpx.TransportError:
            pass
        raise NoAnswer

    def _written(self, record: str, value: int) -> int | None:
        """None: somebody else was faster, or it is not there yet."""
        query = {"identifier": f"{self.system}|{record}"}
        found = self._asked("GET", f"fhir/R4/{self.resource_type}", params=query).json().get("entry") or []
        if not found:
            return None
        resource = found[0]["resource"]
        replaced = self.get(resource)
        self.put(resource, value)
        match = {"If-Match": f'W/"{resource["meta"]["versionId"]}"'}
        path = f"fhir/R4/{self.resource_type}/{resource['id']}"
        answer = self._asked("PUT", path, json=resource, headers=match)
        return None if answer.status_code == httpx.codes.PRECONDITION_FAILED else replaced

    def _asked(self, method: str, path: str, **of: Any) -> httpx.Response:
        answer = self.client.request(method, path, **of)
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise Refused
        if answer.status_code >= 500 or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise NoAnswer
        if answer.status_code != httpx.codes.PRECONDITION_FAILED:
            answer.raise_for_status()
        return answer

    def all(self) -> dict[str, int]:
        """Every record's number now, at most 1,000."""
        found = self._asked("GET", f"fhir/R4/{self.resource_type}", params={"_count": "1000"}).json()
        numbers = {}
        for entry in found.get("entry", ()):
            for identifier in entry["resource"].get("identifier", ()):
                if identifier.get("system") == self.system:
                    numbers[identifier["value"]] = self.get(entry["resource"])
        return numbers
