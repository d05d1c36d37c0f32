"""A reference is made only to what is there: nothing new points at what somebody has deleted."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from medferry.apply.referable import Referable
from medferry.errors import VerificationFailed
from medferry.manifest.crosswalk import CrosswalkEntry
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import scope_of
from medferry.workflows.migrate import execute_run


def delete(tiny: Environment, entity: str, resource_type: str, key: str) -> None:
    """As a user of Medplum."""
    with tiny.medplum() as client:
        system = tiny.migration.naming.system(entity)
        [found] = client.search(resource_type, [("identifier", f"{system}|{key}")])["entry"]
        [outcome] = client.batch(
            [{"request": {"method": "DELETE", "url": f"{resource_type}/{found['resource']['id']}"}}], 100
        )
    assert outcome.status == 200


def new_weight(tiny: Environment) -> None:
    with tiny.source.begin() as source:
        source.exec_driver_sql(
            "INSERT INTO weight SELECT 900, unit, patient_id, kg, taken_at, updated_at FROM weight WHERE id = 0"
        )


def weight(tiny: Environment, run_id: str) -> tuple[str, str]:
    with tiny.manifest.begin() as connection:
        query = "SELECT disposition, reason FROM source_unit WHERE run_id = :run AND entity = 'weight' AND key = '900'"
        return tuple(connection.execute(sa.text(query), {"run": run_id}).one())


def migrate(tiny: Environment, run_id: str, entities: list[str] | None = None, **options: object) -> None:
    scope = scope_of(tiny.migration, None, entities)
    execute_run(tiny, run_id, "run", scope, RunOptions.model_validate(options), lambda *_: None)


@pytest.mark.parametrize("entities", [None, ["weight"]])
def test_a_new_resource_does_not_point_at_a_deleted_one(tiny: Environment, entities: list[str] | None) -> None:
    """Whether the run is about the deleted one, too, or not."""
    migrate(tiny, "first")
    delete(tiny, "patient", "Patient", "1")
    new_weight(tiny)
    with pytest.raises(VerificationFailed):
        migrate(tiny, "second", entities)
    assert weight(tiny, "second") == ("quarantined", "unresolved-reference")


def test_with_overwrite_a_child_points_at_the_parent_that_was_created_again(tiny: Environment) -> None:
    """Clinics 1 and 2 belong to 3, which belongs to 4; in the order of keys the children come first."""
    migrate(tiny, "first")
    delete(tiny, "clinic", "Organization", "3")
    migrate(tiny, "second", overwrite=True)
    system = tiny.migration.naming.system("clinic")
    with tiny.medplum() as client:
        found = {
            next(i["value"] for i in r["identifier"] if i["system"] == system): r
            for r in client.search_all("Organization", [("identifier", f"{system}|")])
        }
    assert {found[key]["partOf"]["reference"] for key in ("1", "2")} == {f"Organization/{found['3']['id']}"}


def test_an_id_is_looked_up_once_and_what_this_run_has_confirmed_never() -> None:
    class Client:
        asked: list[list[str]] = []  # noqa: RUF012

        def versions(self, _type: str, ids: list[str]) -> dict[str, str]:
            self.asked.append(list(ids))
            return {one: "1" for one in ids if one != "gone"}

    known = {("s", key): CrosswalkEntry(key, "1", "h", "Patient") for key in ("there", "gone", "confirmed")}
    client = Client()
    referable = Referable(client)  # type: ignore[arg-type]
    for _ in range(2):
        assert referable.among(known, {("s", "confirmed")}).keys() == {("s", "there"), ("s", "confirmed")}
    assert client.asked == [["there", "gone"], ["gone"]]
