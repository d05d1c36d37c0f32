"""The roles of the manifest, on a real PostgreSQL: who works cannot decide, who decides cannot work, nobody tampers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import sqlalchemy as sa

from medferry.errors import RoleRefused, SettingsError
from medferry.fhir.sides import Side
from medferry.governance.verdict import Verdict, verdict_of
from medferry.manifest import audit, conflict_decisions, conflicts, decisions, panics
from medferry.manifest.announced import Occasion, Sending, note_sending
from medferry.manifest.conflicts import ConflictState
from medferry.manifest.database import open_manifest
from medferry.manifest.decisions import BY_PLAN, Decision
from medferry.manifest.exceptions import ExceptionState
from medferry.manifest.panics import PanicState
from medferry.manifest.runs import RunStatus, get_run
from medferry.manifest.tables import metadata
from medferry.runtime.environment import Environment
from medferry.verification.run import verify_run
from medferry.workflows.decide import decide
from tests.manifest.conftest import LOGINS, copied, url_as
from tests.manifest.needed_rights import needed_rights
from tests.manifest.test_audit import verify
from tests.manifest.test_conflicts import NEW
from tests.workflows.test_four_eyes import drift, exceptions


@pytest.fixture(scope="module")
def granted(granting: str) -> str:
    """A manifest with roles, for its owner."""
    return copied(granting, "granted")


@pytest.fixture(scope="module")
def worker(granted: str) -> sa.Engine:
    return open_manifest(url_as("worker", granted))


@pytest.fixture(scope="module")
def decider(granted: str) -> sa.Engine:
    return open_manifest(url_as("decider", granted))


@pytest.fixture
def working(tiny: Environment, granted: str) -> Iterator[Environment]:
    """The tiny platform, whose manifest is opened by the working role."""
    yield replace(tiny, settings=replace(tiny.settings, manifest_url=url_as("worker", granted)))


def verdict(environment: Environment) -> Verdict:
    with environment.manifest.begin() as connection:
        return verdict_of(connection, "second")


def status(environment: Environment) -> str:
    with environment.manifest.begin() as connection:
        return get_run(connection, "second").status


def accept(environment: Environment, number: int) -> None:
    decide(environment, number, ExceptionState.ACCEPTED, approver="A. Person", action="It is known.")


def test_a_whole_migration_runs_under_the_working_role_and_only_the_deciding_one_decides(
    working: Environment, granted: str
) -> None:
    drift(working)
    found = exceptions(working)
    assert found and status(working) == RunStatus.FAILED
    with pytest.raises(RoleRefused, match=r"role worker .*MEDFERRY_DECISION_URL.*roles\.md"):
        accept(working, found[0].id)
    assert exceptions(working) == found, "nothing of it was recorded"
    deciding = replace(working, settings=replace(working.settings, decision_url=url_as("decider", granted)))
    for one in found:
        accept(deciding, one.id)
    assert verdict(working).passed and status(working) == RunStatus.SUCCEEDED
    verify_run(working, "second", force=True)  # takes the place of one that had finished
    with working.manifest.begin() as connection:
        assert list(audit.faults(connection)) == []
        assert audit.Act.REPLACED in {line.act for line in audit.lines(connection, 50)}


def test_who_works_notes_what_the_plan_decides_and_that_all_stops_and_nothing_that_a_person_decides(
    worker: sa.Engine, decider: sa.Engine
) -> None:
    with worker.begin() as connection:
        conflict = conflicts.record_conflict(connection, NEW)
        conflict_decisions.decide(connection, conflict, ["birthDate"], Side.LEGACY, BY_PLAN, "The authority.")
        note_sending(connection, Occasion("m", "pilot", "flipped", "1"), "ada@x", Sending.BEGUN)
        panics.record_panic(connection, "m", PanicState.HELD, "A. Person", "Something is odd.")
    for person in ("A. Person", "plan.yaml "):
        with pytest.raises(RoleRefused), worker.begin() as connection:
            conflict_decisions.decide(connection, conflict, (), Side.LEGACY, person, "It is right.")
    with pytest.raises(RoleRefused), worker.begin() as connection:
        panics.record_panic(connection, "m", PanicState.LIFTED, "A. Person", "It is over.")
    for subject in ("exception/1", "four-eyes/m/cutover/cutover/pilot", "retire/m/pilot", "readiness/m/pilot/order"):
        with pytest.raises(RoleRefused), worker.begin() as connection:
            decisions.record(connection, subject, "d", Decision("accepted", BY_PLAN))
    with decider.begin() as connection:
        panics.record_panic(connection, "m", PanicState.LIFTED, "A. Person", "It is over.")
        found = conflict_decisions.decide(connection, conflict, (), Side.MEDPLUM, "A. Person", "It is right.")
        assert found is ConflictState.DECIDED
        assert list(audit.faults(connection)) == []


FOLLOWS = {"run.status", "run.finished_at", "conflict.state", "conflict.changed_at"}
"""What is set where somebody decides; test_under_roles.py has each used."""

GIVEN = """
SELECT coalesce(rolname, 'PUBLIC'), privilege_type, name FROM (
    SELECT relname AS name, relacl AS acl, relowner FROM pg_class WHERE relkind = 'r'
        AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT relname || '.' || attname, attacl, relowner FROM pg_attribute
        JOIN pg_class ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace
) AS of_table CROSS JOIN aclexplode(acl) AS line LEFT JOIN pg_roles ON pg_roles.oid = line.grantee
WHERE line.grantee <> relowner
"""


def given(connection: sa.Connection) -> set[tuple[str, str, str]]:
    """(role, verb, table or table.column) of all that the server says others than the owner may do."""
    return {(role, verb, name) for role, verb, name in connection.exec_driver_sql(GIVEN)}


def wanted() -> set[tuple[str, str, str]]:
    """What the statements of the manifest need of who works, what those need who decide, and that all read."""
    tables = ["alembic_version", *(table.name for table in metadata.sorted_tables)]
    reads = {(role, "SELECT", table) for role, table in product(LOGINS.values(), tables)}
    works = {("medferry_work", verb, table) for table, verbs in needed_rights().items() for verb in verbs}
    decides = {("medferry_decide", "INSERT", table) for table in ("audit", "decision")}
    return reads | works | decides | {("medferry_decide", "UPDATE", column) for column in FOLLOWS}


def test_each_role_may_what_its_statements_need_and_no_more(granted: str) -> None:
    with open_manifest(granted).connect() as owner:
        assert given(owner) == wanted()


WRONG = (
    *(f"UPDATE ON {table} TO {role}" for table, role in product(("decision", "audit"), LOGINS.values())),
    "UPDATE ON verification TO medferry_decide",
    "UPDATE (finished_at) ON verification TO medferry_read",
    "UPDATE (verdict) ON decision TO medferry_decide",
    "DELETE ON attempt TO medferry_work",
    "TRUNCATE ON verification TO medferry_work",
    "INSERT ON unit_state TO PUBLIC",
)


@pytest.mark.parametrize("right", WRONG)
def test_a_right_that_nothing_needs_is_found(granted: str, right: str) -> None:
    with open_manifest(granted).connect() as owner:  # which is not committed
        owner.exec_driver_sql(f"GRANT {right}")
        assert given(owner) - wanted()


WORK_OF_OTHERS = (
    "UPDATE run SET fingerprint = 'x'",
    "UPDATE unit_state SET disposition = 'successful'",
    "DELETE FROM source_unit",
    "INSERT INTO lease VALUES ('m', 's', 'r', 't')",
    "UPDATE exception SET different = 0",
    "UPDATE conflict SET key = 'x'",
    "INSERT INTO check_result SELECT * FROM check_result",
)
EVIDENCE = (
    "UPDATE decision SET verdict = 'accepted'",
    "DELETE FROM decision",
    "UPDATE audit SET actor = 'x'",
    "DELETE FROM audit",
    "TRUNCATE audit",
    "TRUNCATE decision",
    "TRUNCATE verification",
    "UPDATE verification SET sample_share = 1 WHERE finished_at IS NOT NULL",
    "DELETE FROM verification WHERE finished_at IS NOT NULL",
    "UPDATE check_result SET different = 0",
    "DELETE FROM check_result",
    "INSERT INTO check_result SELECT verification_id, 'more', entity, part, status, compared, different, unchecked, "
    "examples, note, checked_at FROM check_result LIMIT 1",
)


@pytest.fixture
def evidence(worker: sa.Engine) -> None:
    """Something of every kind that nobody may change."""
    with worker.begin() as connection:
        verify(connection, "of_evidence")
        decisions.record(connection, "rehearsal/m/pilot", "d", Decision("rehearsed", "A. Person"))


@pytest.mark.parametrize("statement", EVIDENCE)
@pytest.mark.usefixtures("evidence")
def test_nobody_changes_evidence_the_owner_neither(granted: str, statement: str) -> None:
    for login in (*LOGINS, ""):
        engine = open_manifest(url_as(login, granted) if login else granted)
        with pytest.raises(RoleRefused), engine.begin() as connection:
            connection.execute(sa.text(statement))


GUARDS = (
    ("decision DISABLE TRIGGER medferry_kept", "NONE", "UPDATE decision SET verdict = 'accepted'"),
    ("audit DISABLE TRIGGER medferry_kept", "NONE", "DELETE FROM audit"),
    (
        "verification DISABLE TRIGGER medferry_kept_when_finished",
        "medferry_work",
        "UPDATE verification SET sample_share = 1 WHERE finished_at IS NOT NULL",
    ),
    ("check_result DISABLE TRIGGER medferry_kept_when_finished", "medferry_work", "DELETE FROM check_result"),
    (
        "decision DISABLE ROW LEVEL SECURITY",
        "medferry_work",
        "INSERT INTO decision (subject, digest, person, verdict, note, owner, due, at) VALUES ('exception/1', '', 'A', "
        "'accepted', '', '', '', '2026')",
    ),
)


@pytest.mark.parametrize(("guard_off", "role", "statement"), GUARDS)
@pytest.mark.usefixtures("evidence")
def test_only_its_guard_keeps_a_role_from_it(granted: str, guard_off: str, role: str, statement: str) -> None:
    """NONE is the owner, whose connections commit nothing here."""
    with open_manifest(granted).connect() as owner:
        owner.exec_driver_sql(f"SET LOCAL ROLE {role}")
        with pytest.raises(RoleRefused):
            owner.exec_driver_sql(statement)
    with open_manifest(granted).connect() as owner:
        owner.exec_driver_sql(f"ALTER TABLE {guard_off}")
        owner.exec_driver_sql(f"SET LOCAL ROLE {role}")
        owner.exec_driver_sql(statement)


def test_a_table_of_ones_own_does_not_answer_for_the_manifest_s(worker: sa.Engine, evidence: None) -> None:
    """A temporary table comes first in the path of search."""
    with pytest.raises(RoleRefused), worker.begin() as connection:
        connection.execute(
            sa.text("CREATE TEMP TABLE verification AS SELECT id, NULL AS finished_at FROM verification")
        )
        connection.execute(sa.text("CREATE TEMP TABLE audit AS SELECT * FROM public.audit"))
        connection.execute(sa.text("UPDATE audit SET act = 'replaced', subject = 'verification/1'"))
        connection.execute(sa.text("DELETE FROM public.check_result"))


@pytest.mark.parametrize("statement", WORK_OF_OTHERS)
@pytest.mark.usefixtures("evidence")
def test_who_decides_or_reads_does_not_work(granted: str, statement: str) -> None:
    for login in ("decider", "reader"):
        with pytest.raises(RoleRefused), open_manifest(url_as(login, granted)).begin() as connection:
            connection.execute(sa.text(statement))


def test_who_reads_reads_all_and_writes_nothing(granted: str, evidence: None) -> None:
    reader = open_manifest(url_as("reader", granted))
    with reader.begin() as connection:
        assert list(audit.faults(connection)) == []
        for table in metadata.sorted_tables:
            connection.execute(sa.select(table).limit(1))
        tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        tables += " AND NOT has_table_privilege(oid, 'SELECT')"
        assert connection.execute(sa.text(tables)).all() == []
    with pytest.raises(RoleRefused), reader.begin() as connection:
        decisions.record(connection, "exception/1", "d", Decision("accepted", "A. Person"))


def test_the_deciding_url_is_of_the_same_manifest(tiny: Environment) -> None:
    other = replace(tiny, settings=replace(tiny.settings, decision_url="postgresql://decider@elsewhere/manifest"))
    with pytest.raises(SettingsError, match="another database"):
        _ = other.decisions
