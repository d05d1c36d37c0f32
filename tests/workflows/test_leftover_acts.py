"""Leftovers are dealt with as the plan says, once a person asks for it: nothing that somebody needs is lost by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner

from embedded_medplum.server import EmbeddedMedplum
from medferry.apply.leftovers import Stays
from medferry.cli.main import app
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError, LeaseHeld, VerificationFailed
from medferry.manifest import leases
from medferry.manifest.leftover_acts import leftover_act
from medferry.manifest.replaced import former_target
from medferry.manifest.tables import target
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import scope_of
from medferry.verification.leftovers import INACTIVE, LEFT
from medferry.verification.run import verify_subject
from medferry.workflows import act_on_leftovers as workflow
from medferry.workflows.act_on_leftovers import deal_with_leftovers
from medferry.workflows.migrate import execute_run
from tests.tiny_platform import MIGRATION, variables

Json = dict[str, Any]
GONE = "loaded before, now gone from the source"


class Platform:
    """A copy of the tiny platform, loaded once; what somebody does to it, and what became of it."""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.runs, self.acts = environment, 0, 0
        self.run()

    def plan(self, **values: object) -> None:
        path = self.environment.migration.folder / "plan.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))
        self.environment = Environment(load_migration(path.parent), self.environment.settings)

    def run(self, overwrite: bool = False) -> None:
        self.runs += 1
        scope = scope_of(self.environment.migration, None, None)
        with suppress(VerificationFailed):
            execute_run(
                self.environment, f"run{self.runs}", "run", scope, RunOptions(overwrite=overwrite), lambda *_: None
            )

    def legacy(self, statement: str) -> None:
        with self.environment.source.begin() as connection:
            connection.exec_driver_sql(statement)

    def dealt(self, apply: bool = True) -> dict[str, Stays | None]:
        """Entity/key → why it stays, None: it was dealt with."""
        self.acts += 1
        found = deal_with_leftovers(self.environment, f"leftovers.{self.acts}", "A. Person", apply)
        return {f"{one.leftover.entity}/{one.leftover.key}": one.reason and one.reason.why for one in found}

    def bad(self) -> set[str]:
        """The checks of the present state that are not equal, of those that tell of leftovers."""
        results = verify_subject(self.environment).verdict.results
        return {one.name for one in results if one.different and one.name in (LEFT, GONE, INACTIVE)}

    def all(self, kind: str, entity: str, key: str) -> list[Json]:
        system = self.environment.migration.naming.system(entity)
        with self.environment.medplum() as client:
            found = client.search(kind, [("identifier", f"{system}|{key}")]).get("entry", [])
        return [entry["resource"] for entry in found]

    def send(self, method: str, resource: Json, **changes: object) -> str:
        """As somebody else; returns the new id."""
        place = resource["resourceType"] + (f"/{resource['id']}" if method != "POST" else "")
        body = {"resource": resource | changes} if method != "DELETE" else {}
        with self.environment.medplum() as client:
            [outcome] = client.batch([{"request": {"method": method, "url": place}} | body], 100)
        assert outcome.status in (200, 201)
        return outcome.id

    def rows(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        with self.environment.manifest.begin() as connection:
            return [tuple(row) for row in connection.execute(statement)]


@pytest.fixture
def platform(tiny: Environment, tmp_path: Path) -> Platform:
    return Platform(Environment(load_migration(shutil.copytree(MIGRATION, tmp_path / "tiny")), tiny.settings))


@pytest.fixture
def left(platform: Platform) -> Platform:
    """Row 8 of the patients, to which nothing refers, cannot be mapped any more; its policy is to remove it."""
    platform.legacy("DELETE FROM weight WHERE patient_id = 8")
    platform.legacy("UPDATE patient SET born = '1970-02-30' WHERE id = 8")
    platform.plan(entity_leftovers={"patient": "remove", "weight": "remove"})
    platform.run()
    return platform


def test_it_is_shown_first_and_then_removed_what_refers_to_it_before_it(left: Platform) -> None:
    before = left.dealt(apply=False)
    assert before.pop("patient/8") is None
    assert len(before) == 10 and set(before.values()) == {None}
    assert left.all("Patient", "patient", "8") and left.bad() == {LEFT, GONE}
    assert set(left.dealt().values()) == {None}
    assert left.all("Patient", "patient", "8") == []
    assert left.bad() == set() and left.dealt() == {}
    acts = left.rows(sa.select(leftover_act.c.action, leftover_act.c.person, leftover_act.c.ended_at.is_not(None)))
    assert set(acts) == {("remove", "A. Person", True)} and len(acts) == 11


def test_a_row_that_comes_back_makes_another(left: Platform) -> None:
    [old] = left.all("Patient", "patient", "8")
    left.dealt()
    left.legacy("UPDATE patient SET born = '1970-02-03' WHERE id = 8")
    left.run()
    [new] = left.all("Patient", "patient", "8")
    assert new["id"] != old["id"] and left.bad() == set()
    left.send("PUT", old)  # somebody puts the removed one back, with our identifier
    assert left.bad() == {LEFT}


def test_a_row_that_came_back_meanwhile_keeps_it(left: Platform) -> None:
    readme = left.environment.migration.folder / "README.md"
    readme.write_text("Files that no run has seen may make it again, too.")
    left.plan()
    assert left.dealt(apply=False)["patient/8"] is Stays.ROW_CHANGED
    readme.unlink()
    left.plan()
    left.legacy("UPDATE patient SET born = '1970-02-03' WHERE id = 8")
    left.legacy("INSERT INTO weight SELECT 3, 'shared', 8, 70, NULL, NULL")
    stays = left.dealt(apply=False)
    assert stays["patient/8"] is Stays.ROW_CHANGED and "weight/3" not in stays
    left.run()
    assert "patient/8" not in left.dealt() and len(left.all("Patient", "patient", "8")) == 1


def test_nothing_is_done_where_it_may_be_wrong(left: Platform) -> None:
    with left.environment.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "other", ["north/patient"])
    with pytest.raises(LeaseHeld):
        left.dealt()
    with left.environment.manifest.begin() as connection:
        leases.release(connection, "other")
    left.legacy("DELETE FROM weight")  # the wrong database?
    found = left.dealt(apply=False)
    assert {stays for name, stays in found.items() if name.startswith("weight")} == {Stays.SOURCE_EMPTY}
    left.plan(entity_leftovers={})
    assert left.dealt() == {} and left.all("Patient", "patient", "8")


def test_what_somebody_needs_stays(left: Platform) -> None:
    [one] = left.all("Patient", "patient", "8")
    other = left.send("POST", flag(one))
    assert left.dealt()["patient/8"] is Stays.REFERRED_TO
    left.send("DELETE", flag(one) | {"id": other})
    left.send("PUT", one, gender="female")
    assert left.dealt()["patient/8"] is Stays.CHANGED
    left.send("PUT", one, identifier=[])
    assert left.dealt()["patient/8"] is Stays.NOT_OURS
    left.send("PUT", one)  # put back, it is ours as it was
    assert left.dealt()["patient/8"] is None


@pytest.mark.parametrize(
    "about",
    [
        lambda it: {"subject": {"reference": f"https://medplum.example/fhir/R4/Patient/{it['id']}"}},
        lambda it: {"subject": {"reference": f"Patient/{it['id']}/_history/{it['meta']['versionId']}"}},
        lambda it: {"subject": {"identifier": it["identifier"][0], "type": "Patient"}},
        lambda it: {"subject": {"identifier": {"value": it["identifier"][0]["value"]}}},
        lambda it: {
            "subject": {"display": "theirs"},
            "contained": [{"resourceType": "Basic", "id": "b", "code": {"text": "x"}, "subject": flag(it)["subject"]}],
            "author": {"reference": "#b"},
        },
        lambda it: {"subject": {"display": "theirs"}, "text": {"status": "additional", "div": _div(it["id"])}},
        lambda it: {
            "subject": {"display": "theirs"},
            "extension": [{"url": "https://x.example/of", "valueUri": f"urn:uuid:{it['id']}"}],
        },
    ],
    ids=["address", "version", "identifier", "identifier without a system", "contained", "text", "extension"],
)
def test_what_somebody_needs_stays_in_whatever_form_he_says_so(left: Platform, about: Callable[[Json], Json]) -> None:
    [one] = left.all("Patient", "patient", "8")
    left.send("POST", {"resourceType": "Flag", "status": "active", "code": {"text": "theirs"}} | about(one))
    assert left.dealt(apply=False)["patient/8"] is Stays.REFERRED_TO
    assert left.dealt()["patient/8"] is Stays.REFERRED_TO
    assert left.all("Patient", "patient", "8")


def _div(text: str) -> str:
    return f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="Patient/{text}">See there</a></div>'


def flag(patient: Json) -> Json:
    return {
        "resourceType": "Flag",
        "status": "active",
        "code": {"text": "theirs"},
        "subject": {"reference": f"Patient/{patient['id']}"},
    }


def test_a_change_in_the_last_moment_stays(left: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    find = workflow.find_leftovers

    def then_changed(*given: Any) -> Any:
        found = find(*given)
        left.send("PUT", left.all("Patient", "patient", "8")[0], gender="female")
        return found

    monkeypatch.setattr(workflow, "find_leftovers", then_changed)
    assert left.dealt()["patient/8"] is Stays.CHANGED_SINCE
    assert left.all("Patient", "patient", "8")[0]["gender"] == "female"


def test_inactivated_it_says_so_and_counts_as_dealt_with(left: Platform) -> None:
    left.plan(entity_leftovers={"patient": "inactivate", "weight": "inactivate"})
    left.run()
    assert set(left.dealt().values()) == {None}
    [one] = left.all("Patient", "patient", "8")
    assert one["active"] is False and one["name"]
    with left.environment.medplum() as client:
        statuses = [each["status"] for each in client.search_all("Observation", [("subject", f"Patient/{one['id']}")])]
    assert set(statuses) == {"entered-in-error"} and len(statuses) == 10
    assert left.bad() == set() and left.dealt() == {}
    left.send("PUT", one, active=True)
    assert left.bad() == {INACTIVE}


def test_a_row_that_comes_back_is_in_use_again(left: Platform) -> None:
    left.plan(entity_leftovers={"patient": "inactivate"})
    left.run()
    [old] = left.all("Patient", "patient", "8")
    assert left.dealt()["patient/8"] is None
    left.legacy("UPDATE patient SET born = '1970-02-03' WHERE id = 8")
    left.run()
    [new] = left.all("Patient", "patient", "8")
    assert new["id"] == old["id"] and "active" not in new and INACTIVE not in left.bad()


@pytest.mark.parametrize(("policy", "fault"), [("remove", "cut-after"), ("inactivate", "cut-after")])
def test_a_lost_answer_is_found_out_by_the_next_act(
    left: Platform, medplum: EmbeddedMedplum, policy: str, fault: str
) -> None:
    left.plan(entity_leftovers={"patient": policy, "weight": "remove"})
    left.run()
    medplum.inject({"kind": fault, "entries": "writes", "skip": 10, "next": 1})
    assert left.dealt()["patient/8"] is Stays.NO_ANSWER
    medplum.inject()
    assert left.dealt().get("patient/8") is None
    assert left.dealt() == {} and LEFT not in left.bad()
    known = left.rows(sa.select(target.c.value).where(target.c.entity == "patient", target.c.value == "8"))
    assert len(known) == (policy == "inactivate")


def test_a_removal_without_an_answer_holds_the_row_back_that_comes_again(
    left: Platform, medplum: EmbeddedMedplum
) -> None:
    medplum.inject({"kind": "cut-before", "entries": "writes", "skip": 10, "next": 1})
    assert left.dealt()["patient/8"] is Stays.NO_ANSWER
    medplum.inject()
    left.legacy("UPDATE patient SET born = '1970-02-03' WHERE id = 8")
    left.run()
    assert len(left.all("Patient", "patient", "8")) == 1


def test_a_type_that_cannot_say_so_is_refused_by_the_plan(tmp_path: Path) -> None:
    folder = shutil.copytree(MIGRATION, tmp_path / "tiny")
    mapping, plan = folder / "mappings" / "weight.py", folder / "plan.yaml"
    mapping.write_text(mapping.read_text().replace('"Observation"', '"Basic"'))
    (folder / "checks" / "weight.yaml").unlink()
    plan.write_text(plan.read_text() + "\nentity_leftovers:\n  weight: inactivate\n")
    with pytest.raises(DefinitionError, match=r"plan.yaml.*FHIR has no element that says so of a Basic"):
        load_migration(folder)


def test_the_command_shows_does_and_asks_who(left: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(left.environment.settings).items():
        monkeypatch.setenv(name, value)
    run = CliRunner().invoke
    folder = str(left.environment.migration.folder)
    assert "needs a person" in run(app, ["leftovers", "-m", folder, "--apply"]).output
    shown = run(app, ["leftovers", "-m", folder])
    assert shown.exit_code == 0 and "11 would be done, 0 left as they are. Nothing was changed" in shown.output
    done = run(app, ["leftovers", "-m", folder, "--apply", "--by", "A. Person"])
    assert done.exit_code == 0 and "11 done, 0 left" in done.output
    assert "No leftovers" in run(app, ["leftovers", "-m", folder]).output


def test_what_another_took_the_place_of_is_removed_unless_it_is_known_elsewhere(platform: Platform) -> None:
    platform.plan(entity_leftovers={"staff": "remove"})
    [role] = platform.all("PractitionerRole", "staff/role", "1")
    platform.send("DELETE", role)
    platform.run(overwrite=True)
    platform.send("PUT", role)  # it is there again, beside the one that took its place
    columns = {column.name: column for column in former_target.columns}
    elsewhere = sa.select(*(columns | {"migration": sa.literal("other")}).values())
    with platform.environment.manifest.begin() as connection:
        connection.execute(sa.insert(target).from_select([*columns], elsewhere))
    assert platform.dealt()["staff/1"] is Stays.KNOWN_ELSEWHERE
    with platform.environment.manifest.begin() as connection:
        connection.execute(sa.delete(target).where(target.c.migration == "other"))
    assert platform.bad() == {LEFT} and platform.dealt() == {"staff/1": None}
    assert len(platform.all("PractitionerRole", "staff/role", "1")) == 1 and platform.bad() == set()
