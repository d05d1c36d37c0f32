"""Where the resources go: a fresh embedded Medplum for every measurement, or a live one under a name of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import Migration
from medferry.medplum import budget as points
from medferry.medplum.client import MedplumClient
from medferry.medplum.http import HttpSettings
from medferry.runtime.settings import plain_hosts
from medferry_bench.migration import based, systems_of

QUOTA = 1_000_000_000
"""Points a minute of the embedded server: the quota must not be what is measured."""

_DELETES = 200


@dataclass(frozen=True, slots=True)
class Target:
    """A Medplum that holds nothing under the identifier base `base`."""

    base_url: str
    client_id: str
    base: str
    client_secret: str = field(repr=False)

    @property
    def settings(self) -> dict[str, str]:
        """The Medplum part of `medferry.settings.Settings`."""
        return {
            "medplum_base_url": self.base_url,
            "medplum_client_id": self.client_id,
            "medplum_client_secret": self.client_secret,
        }

    def client(self) -> MedplumClient:
        http = HttpSettings(plain_hosts=plain_hosts())
        return MedplumClient(self.base_url, self.client_id, self.client_secret, http=http)

    def count(self, migration: Migration) -> int:
        """Resources under the base, as the server counts them."""
        with self.client() as client:
            return sum(client.count(kind, [("identifier", f"{system}|")]) for kind, system in self._systems(migration))

    def clear(self, migration: Migration) -> None:
        """Delete everything under the base."""
        with self.client() as client:
            for kind, system in self._systems(migration):
                found = [r["id"] for r in client.search_all(kind, [("identifier", f"{system}|"), ("_fields", "id")])]
                for start in range(0, len(found), _DELETES):
                    some = found[start : start + _DELETES]
                    entries = [{"request": {"method": "DELETE", "url": f"{kind}/{one}"}} for one in some]
                    client.batch(entries, len(some) * points.WRITE)

    def _systems(self, migration: Migration) -> list[tuple[str, str]]:
        return systems_of(based(migration, self.base))


def is_live() -> bool:
    return bool(os.environ.get("MEDFERRY_LIVE_BASE_URL"))


def described() -> str:
    """The server, for the settings of every figure."""
    if is_live():
        return "live Medplum"
    return f"embedded Medplum with its data in a file, fresh for every measurement, {QUOTA:,} points a minute"


@contextmanager
def fresh_target(migration: Migration) -> Iterator[Target]:
    """A target for one measurement. On a live server, what was written is deleted afterwards.

    Raises KeyError naming the missing variable when only a part of MEDFERRY_LIVE_* is set.
    """
    base = f"{migration.plan.base}/bench/{uuid4().hex[:8]}"
    if not is_live():
        with (
            tempfile.TemporaryDirectory(prefix="bench-medplum-") as folder,
            EmbeddedMedplum(data=Path(folder, "medplum.db"), quota=QUOTA) as medplum,
        ):
            yield Target(medplum.base_url, medplum.client_id, base, medplum.client_secret)
        return
    names = ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET")
    url, client_id, secret = (os.environ[f"MEDFERRY_LIVE_{name}"] for name in names)
    target = Target(url, client_id, base, secret)
    try:
        yield target
    finally:
        target.clear(migration)
