"""The exceptions register: grouped, decided by people with names, and bound to exactly what was found."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from demo_clinics import database
from medferry.cli.main import app
from medferry.errors import VerificationFailed
from medferry.governance.register import family_of, kind_of
from medferry.governance.register import register as record
from medferry.governance.verdict import Verdict, verdict_of
from medferry.manifest.checks import CheckResult, verification_of
from medferry.manifest.exceptions import ExceptionRow, decisions_about, exceptions_of
from medferry.manifest.runs import get_run
from medferry.runtime.environment import Environment
from medferry.verification.options import Sampling
from medferry.verification.run import verify_run
from medferry.workflows.decide import NotDecidable, decide
from medferry.workflows.finish import finish_run
from tests.tiny_platform import variables
from tests.verification.conftest import RUN
from tests.workflows.test_migrate import migrate


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with database.embedded() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def done(request: pytest.FixtureRequest, tiny: Environment) -> Iterator[Environment]:
    """The tiny platform, migrated, with its manifest in SQLite or PostgreSQL."""
    if request.param == "sqlite":
        migrate(tiny, RUN)
        yield tiny
        return
    there = Environment(tiny.migration, replace(tiny.settings, manifest_url=_new_database(request)))
    migrate(there, RUN)
    yield there
    there.manifest.dispose()


def _new_database(request: pytest.FixtureRequest) -> str:
    """The URL of a database of this test's own: that a URL's manifest exists is asked once in a process."""
    server = sa.make_url(request.getfixturevalue("postgresql"))
    name = f"d{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def change(done: Environment, key: str, born: str) -> None:
    """Somebody changes a patient in Medplum."""
    with done.medplum() as client:
        system = done.migration.naming.system("patient")
        [one] = client.search_all("Patient", [("identifier", f"{system}|{key}")])
        put = {"request": {"method": "PUT", "url": f"Patient/{one['id']}"}, "resource": {**one, "birthDate": born}}
        assert client.batch([put], 100)[0].status == 200


def register(done: Environment) -> dict[str, ExceptionRow]:
    with done.manifest.begin() as connection:
        rows = exceptions_of(connection, RUN)
    assert len({(one.family, one.entity) for one in rows}) == len(rows)
    return {one.family: one for one in rows}


def text(done: Environment) -> str:
    with done.manifest.begin() as connection:
        return verdict_of(connection, RUN).text()


def status(done: Environment) -> str:
    with done.manifest.begin() as connection:
        return get_run(connection, RUN).status


def accept(done: Environment, *families: str) -> None:
    for family, one in register(done).items():
        if not families or family in families:
            decide(done, one.id, "accepted", "Dr. Osei", "registration", "correct it in Medplum", "2027-01-31")


CHANGED = {"versions: changed since the load", "content: as written", "value"}


def test_a_run_whose_only_differences_are_accepted_is_accepted_and_says_so(done: Environment) -> None:
    change(done, "1", "1970-02-04")
    verify_run(done, RUN)
    found = register(done)
    assert found.keys() == CHANGED
    assert {one.decision for one in found.values()} == {"open"}
    content = found["content: as written"]
    assert (content.entity, content.category, content.severity) == ("patient", "content", "critical")
    assert (content.different, content.unchecked) == (1, 0)
    with pytest.raises(VerificationFailed, match="3 of"):
        finish_run(done, RUN)
    assert status(done) == "failed"

    accept(done, "content: as written", "value")
    assert (text(done), status(done)) == ("not proven", "failed")
    with pytest.raises(VerificationFailed, match="versions: changed since the load of patient"):
        finish_run(done, RUN)
    accept(done)
    assert (text(done), status(done)) == ("proven, with 3 accepted exceptions", "succeeded")
    finish_run(done, RUN)

    verify_run(done, RUN)  # finds exactly the same
    assert text(done) == "proven, with 3 accepted exceptions"
    finish_run(done, RUN)


def test_when_more_is_found_it_is_open_again(done: Environment) -> None:
    change(done, "1", "1970-02-04")
    verify_run(done, RUN)
    accept(done)
    change(done, "2", "1980-12-30")
    verify_run(done, RUN)
    again = register(done)["content: as written"]
    assert (again.decision, again.different, again.approver, again.owner) == ("open", 2, "", "registration")
    assert text(done) == "not proven"
    with pytest.raises(VerificationFailed):
        finish_run(done, RUN)


def test_an_accepted_difference_that_changes_again_is_open_again(done: Environment) -> None:
    change(done, "1", "1970-02-04")
    verify_run(done, RUN)
    accept(done)
    change(done, "1", "1999-01-01")
    verify_run(done, RUN)
    found = register(done)
    # The register holds no values: that the birth date differs is what was accepted, whatever it is now.
    assert {family: one.decision for family, one in found.items() if family != "value"} == dict.fromkeys(
        CHANGED - {"value"}, "open"
    )
    assert text(done) == "not proven"


def test_what_is_not_found_any_more_is_fixed_and_open_when_it_comes_back(done: Environment) -> None:
    plant = "UPDATE target SET content_hash = 'x' WHERE entity = 'weight' AND value = '0'"
    with done.manifest.begin() as connection:
        held = connection.scalar(sa.text("SELECT content_hash FROM target WHERE entity = 'weight' AND value = '0'"))
        connection.exec_driver_sql(plant)
    verify_run(done, RUN)
    accept(done)
    with done.manifest.begin() as connection:
        connection.exec_driver_sql(plant.replace("'x'", f"'{held}'"))
    verify_run(done, RUN)
    [fixed] = register(done).values()
    assert (fixed.decision, fixed.cleared_at is not None, text(done)) == ("fixed", True, "proven")
    with pytest.raises(NotDecidable, match="is fixed"):
        decide(done, fixed.id, "accepted", "Dr. Osei", action="none")
    with done.manifest.begin() as connection:
        connection.exec_driver_sql(plant)
    verify_run(done, RUN)
    [back] = register(done).values()
    assert (back.id, back.decision, text(done)) == (fixed.id, "open", "not proven")


def test_a_sample_clears_nothing_that_a_whole_verification_has_found(done: Environment) -> None:
    change(done, "1", "1951-01-01")
    verify_run(done, RUN)
    equal = [CheckResult("accounting", "patient", "equal", 1)]
    for whole, decision in ((False, "open"), (True, "fixed")):
        with done.manifest.begin() as connection:
            found = verification_of(connection, RUN)
            assert found is not None
            record(connection, replace(found, sample_share=1.0 if whole else 0.1), equal)
            verdict = Verdict(equal, exceptions_of(connection, RUN), 0, 1.0 if whole else 0.1)
        assert {one.decision for one in register(done).values()} == {decision}
        assert verdict.passed is whole
        assert verdict.text() == ("proven" if whole else "not proven")
        if not whole:
            with pytest.raises(
                VerificationFailed, match="did not see what a verification before it has found: content"
            ):
                verdict.require(RUN)


def test_a_sample_is_named_in_the_verdict(done: Environment) -> None:
    verify_run(done, RUN, choice=Sampling(sample_share=0.25))
    assert text(done) == "proven by a sample of 25.000%"


def test_acceptance_needs_an_approver_and_an_action_and_can_be_withdrawn(done: Environment) -> None:
    change(done, "1", "1970-02-04")
    verify_run(done, RUN)
    one = register(done)["content: as written"]
    for given in ({"action": "none"}, {"approver": "Dr. Osei"}, {"approver": "  ", "action": "none"}):
        with pytest.raises(NotDecidable, match="approver and the action"):
            decide(done, one.id, "accepted", **given)
    with pytest.raises(NotDecidable, match="no day"):
        decide(done, one.id, due="soon")
    with pytest.raises(NotDecidable, match="no decision"):
        decide(done, one.id, "fixed")
    assert decide(done, one.id, owner="registration").decision == "open"
    accept(done)
    assert text(done).startswith("proven, with")
    withdrawn = decide(done, one.id, "open")
    assert (withdrawn.decision, withdrawn.approver, withdrawn.owner) == ("open", "", "registration")
    assert (text(done), status(done)) == ("not proven", "failed")
    with done.manifest.begin() as connection:
        kept = [(made.decision.verdict, made.decision.person) for made in decisions_about(connection, one.id)]
    assert kept == [("open", ""), ("accepted", "Dr. Osei"), ("open", "")]


def test_nobody_can_accept_a_row_without_an_outcome(done: Environment) -> None:
    with done.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE source_unit SET disposition = 'pending' WHERE entity = 'staff'")
    verify_run(done, RUN)
    one = register(done)["accounting"]
    with pytest.raises(NotDecidable, match="cannot be accepted"):
        decide(done, one.id, "accepted", "Dr. Osei", action="none")


def test_nothing_is_decided_while_the_verification_is_at_work(
    done: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(done, "1", "1970-02-04")
    verify_run(done, RUN)
    one = register(done)["content: as written"]
    with done.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE verification SET finished_at = NULL")
    with pytest.raises(NotDecidable, match="is being verified"):
        decide(done, one.id, "accepted", "Dr. Osei", action="none")


def test_a_result_that_no_exception_covers_is_never_accepted() -> None:
    """The manifest lost a line of its register, or an approver's name."""
    bad = CheckResult("value: main/family", "patient", "different", 9, 1)
    assert Verdict([bad], [], 0).text() == "not proven"
    row = ExceptionRow(
        1,
        RUN,
        None,
        "value",
        "patient",
        "values",
        "critical",
        1,
        0,
        1,
        "",
        None,
        "accepted",
        "Dr. Osei",
        "",
        "a",
        "",
        "",
    )
    assert Verdict([bad], [row], 0).text() == "proven, with 1 accepted exception"
    assert Verdict([bad], [replace(row, approver="")], 0).text() == "not proven"
    assert Verdict([bad], [replace(row, entity="staff")], 0).text() == "not proven"
    assert Verdict([bad], [replace(row, decision="open")], 0).text() == "not proven"
    assert Verdict([bad], [row], 1).text() == "not proven"
    assert Verdict([bad], [row], 0, dry_run=True).text() == "dry run"
    assert Verdict([], [row], 0).text() == "not verified"


def test_families_have_a_category_and_those_nobody_knows_are_critical() -> None:
    assert family_of("value: weight/value") == "value"
    assert family_of("identifiers: missing in Medplum") == "identifiers: missing in Medplum"
    assert kind_of("document") == ("documents", "critical")
    assert kind_of("structure: $validate") == ("structure", "major")
    assert kind_of("something new") == ("other", "critical")


def test_on_the_command_line(tiny: Environment, tmp_path: Path) -> None:
    migrate(tiny, RUN)
    run, there = CliRunner(), {**variables(tiny.settings), "MEDFERRY_MIGRATION": str(tiny.migration.folder)}
    assert run.invoke(app, ["exceptions"], env=there).exit_code == 0
    change(tiny, "1", "1970-02-04")
    verified = run.invoke(app, ["verify", RUN], env=there)
    assert verified.exit_code == 1
    listed = run.invoke(app, ["exceptions", RUN], env=there)
    assert listed.exit_code == 1
    assert "not proven" in listed.output
    for one in register(tiny).values():
        asked = ["exceptions", "decide", str(one.id), "--decision", "accepted", "--action", "none"]
        refused = run.invoke(app, asked, env=there)
        assert refused.exit_code == 1
        assert "NotDecidable" in refused.stderr
        accepted = run.invoke(app, [*asked, "--approver", "Dr. Osei"], env=there)
        assert accepted.exit_code == 0, accepted.output
    assert "proven, with 3 accepted exceptions" in accepted.output
    assert run.invoke(app, ["exceptions"], env=there).exit_code == 0
    assert run.invoke(app, ["verify", RUN], env=there).exit_code == 0
