"""Plants corruption behind Medferry's back, one at a time, and takes it away again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import sqlalchemy as sa

from medferry.fhir.canonical import content_hash
from medferry.manifest.checks import Difference
from medferry.manifest.subject import Subject
from medferry.manifest.tables import source_record, target
from medferry.runtime.environment import Environment
from medferry.verification.options import Sampling
from medferry.verification.run import examine, parts
from medferry.verification.scope import VerificationScope, scope_of_run, scope_of_subject
from tests.verification.conftest import RUN

Resource = dict[str, Any]


@dataclass
class World:
    """The migrated clinics. `stored` has every resource by entity and slot, as (key, resource), in key order."""

    environment: Environment
    http: httpx.Client
    stored: dict[tuple[str, str], list[tuple[str, Resource]]] = field(default_factory=dict)

    # -- looking -------------------------------------------------------------------------------------

    def find(self, entity: str, slot: str, fits: Callable[[Resource], Any]) -> tuple[str, Resource]:
        """The first stored resource that fits; a copy of it."""
        for key, resource in self.stored[entity, slot]:
            if fits(resource):
                return key, copy.deepcopy(resource)
        raise AssertionError(f"no {entity}/{slot} of the demo fits: make the demo larger")

    def another(self, entity: str, key: str) -> tuple[str, Resource]:
        """A stored resource of the entity's main slot that is not `key`'s."""
        return next((k, copy.deepcopy(r)) for k, r in self.stored[entity, "main"] if k != key)

    def differences(self, entity: str) -> list[Difference]:
        """All that a verification of the entity finds now."""
        return self._examined(scope_of_run(self.environment, RUN, Sampling()), entity)

    def differences_now(self, entity: str, *keys: str) -> list[Difference]:
        """All that a verification finds of the entity, or of some of its keys, as it is now, without a run.

        Of a key whose only resource is lost, what every resource is judged by could not be checked.
        """
        subject = Subject(keys={entity: keys}) if keys else Subject(entities=(entity,))
        return self._examined(scope_of_subject(self.environment, subject, Sampling()), entity, bool(keys))

    def _examined(self, scope: VerificationScope, entity: str, few: bool = False) -> list[Difference]:
        found: list[Difference] = []
        with self.environment.medplum() as client:
            for part in parts(scope, client, entities=[entity]):
                results, differences = examine(part)
                assert few or all(result.status != "could_not_check" for result in results), results
                found += differences
        return found

    # -- Medplum -------------------------------------------------------------------------------------

    def put(self, resource: Resource) -> Resource:
        answer = self.http.put(f"{resource['resourceType']}/{resource['id']}", json=_sent(resource))
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def post(self, resource: Resource) -> Resource:
        answer = self.http.post(resource["resourceType"], json=_sent(resource))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def delete(self, resource: Resource) -> None:
        assert self.http.delete(f"{resource['resourceType']}/{resource['id']}").status_code == 200

    @contextmanager
    def changed(self, original: Resource, altered: Resource, honest: bool) -> Iterator[None]:
        """The resource altered. `honest`: the crosswalk agrees, as after a fault of mapping or loader."""
        stored = self.put(altered)
        if honest:
            self._adopt(stored)
        try:
            yield
        finally:
            self._adopt(self.put(original))

    @contextmanager
    def deleted(self, resource: Resource) -> Iterator[None]:
        self.delete(resource)
        try:
            yield
        finally:
            self._adopt(self.put(resource))

    @contextmanager
    def added(self, resource: Resource) -> Iterator[Resource]:
        stored = self.post({name: value for name, value in resource.items() if name != "id"})
        try:
            yield stored
        finally:
            self.delete(stored)

    def _adopt(self, resource: Resource) -> None:
        """Let the crosswalk know the resource's present version and content."""
        now = {"version_id": resource["meta"]["versionId"], "content_hash": content_hash(resource)}
        mine = sa.and_(target.c.resource_type == resource["resourceType"], target.c.medplum_id == resource["id"])
        with self.environment.manifest.begin() as connection:
            assert connection.execute(sa.update(target).where(mine).values(now)).rowcount == 1

    # -- the databases -------------------------------------------------------------------------------

    @contextmanager
    def manifest_row(
        self, table: sa.Table, mine: sa.ColumnElement[bool], values: dict[str, Any] | None
    ) -> Iterator[None]:
        """The manifest's rows changed to `values`, or lost."""
        with self.environment.manifest.begin() as connection:
            before = [dict(row) for row in connection.execute(sa.select(table).where(mine)).mappings()]
            assert before
            connection.execute(sa.delete(table).where(mine))
            if values is not None:
                connection.execute(sa.insert(table), [row | values for row in before])
        try:
            yield
        finally:
            with self.environment.manifest.begin() as connection:
                keys = [column.name for column in table.primary_key]
                for row in before:
                    for one in (row, row | (values or {})):
                        connection.execute(sa.delete(table).where(*(table.c[name] == one[name] for name in keys)))
                connection.execute(sa.insert(table), before)

    @contextmanager
    def manifest_copy(self, table: sa.Table, like: sa.ColumnElement[bool], values: dict[str, Any]) -> Iterator[None]:
        """One row more in the manifest: a copy of the one that is `like`, with other `values`."""
        with self.environment.manifest.begin() as connection:
            row = dict(connection.execute(sa.select(table).where(like)).mappings().one()) | values
            connection.execute(sa.insert(table), [row])
        try:
            yield
        finally:
            with self.environment.manifest.begin() as connection:
                connection.execute(sa.delete(table).where(*(table.c[name] == value for name, value in values.items())))

    @contextmanager
    def legacy(self, statement: str, back: str, **values: Any) -> Iterator[None]:
        """The legacy database after `statement`; `back` undoes it."""
        with self.environment.source.begin() as connection:
            assert connection.execute(sa.text(statement), values).rowcount == 1
        try:
            yield
        finally:
            with self.environment.source.begin() as connection:
                assert connection.execute(sa.text(back), values).rowcount == 1

    @contextmanager
    def legacy_value(self, table: str, key_column: str, key: str, column: str, value: Any) -> Iterator[None]:
        """One column of one legacy row changed."""
        typed = int(key) if key.isdecimal() else key
        with self.environment.source.begin() as connection:
            statement = sa.text(f"SELECT {column} FROM {table} WHERE {key_column} = :key")
            before = connection.execute(statement, {"key": typed}).scalar_one()
        update = f"UPDATE {table} SET {column} = :{{}} WHERE {key_column} = :key"
        change, back = update.format("value"), update.format("before")
        with self.environment.source.begin() as connection:
            connection.execute(sa.text(change), {"key": typed, "value": value})
        try:
            yield
        finally:
            with self.environment.source.begin() as connection:
                connection.execute(sa.text(back), {"key": typed, "before": before})


def _sent(resource: Resource) -> Resource:
    """Without the server's members of `meta`."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name in ("source", "tag", "profile")}
    return {name: value for name, value in resource.items() if name != "meta"} | ({"meta": meta} if meta else {})


def open_world(environment: Environment) -> World:
    """Read everything that was stored."""
    s = environment.settings
    form = {"grant_type": "client_credentials", "client_id": s.medplum_client_id}
    form["client_secret"] = s.medplum_client_secret
    token = httpx.post(f"{s.medplum_base_url}oauth2/token", data=form).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    world = World(environment, httpx.Client(base_url=f"{s.medplum_base_url}fhir/R4/", headers=headers, timeout=60))
    joined = target.join(
        source_record, sa.and_(source_record.c.entity == target.c.entity, source_record.c.key == target.c.value)
    )
    columns = (target.c.entity, target.c.system, target.c.value, target.c.resource_type, target.c.medplum_id)
    with environment.manifest.begin() as connection:
        known = connection.execute(sa.select(*columns).select_from(joined).order_by(target.c.value)).all()
    slots = {
        environment.migration.naming.system(name, slot): slot
        for name, spec in environment.migration.specs.items()
        for slot in spec.produces
    }
    with environment.medplum() as client:
        bodies: dict[str, Resource] = {}
        for resource_type in sorted({one.resource_type for one in known}):
            ids = [one.medplum_id for one in known if one.resource_type == resource_type]
            for start in range(0, len(ids), 1_000):
                bodies |= client.by_id(resource_type, ids[start : start + 1_000])
    for entity, system, value, _, medplum_id in known:
        world.stored.setdefault((entity, slots[system]), []).append((value, bodies[medplum_id]))
    return world
