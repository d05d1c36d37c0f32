"""The chain of acts proves that nothing was changed or taken away; each planted fault is found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from medferry.manifest import audit, checks, decisions
from medferry.manifest.audit import Act, Head
from medferry.manifest.checks import CheckResult, CheckStatus, FinishedPart, VerificationRequest
from medferry.manifest.decisions import Decision
from medferry.manifest.subject import Subject


def request(run_id: str) -> VerificationRequest:
    return VerificationRequest("m", run_id, Subject(), 0.1, 7, False, "f" * 64, {"patient": {"sql": "é"}})


def verify(connection: sa.Connection, run_id: str) -> int:
    number, _ = checks.begin_verification(connection, request(run_id), force=True)
    found = [
        CheckResult("rows", "patient", CheckStatus.EQUAL, 3),
        CheckResult("values", "patient", CheckStatus.EQUAL, 3),
    ]
    checks.record_part(connection, number, FinishedPart("all", "t", "t", 1, 1), found)
    checks.finish_verification(connection, number)
    return number


@pytest.fixture
def acted(manifest: sa.Engine) -> sa.Engine:
    """A manifest with some acts in it."""
    with manifest.begin() as connection:
        for number in range(3):
            decisions.record(connection, f"exception/{number}", "d" * 64, Decision("accepted", "A. Person", "é reason"))
        verify(connection, "first")
        verify(connection, "first")
    return manifest


def problems(manifest: sa.Engine, known: Head | None = None) -> list[str]:
    with manifest.begin() as connection:
        return [f"{fault.seq} {fault.subject}: {fault.problem}" for fault in audit.faults(connection, known)]


def head(manifest: sa.Engine) -> Head:
    with manifest.begin() as connection:
        return audit.head(connection)


def test_what_was_done_is_in_the_chain_with_its_actor_and_nothing_is_wrong(acted: sa.Engine) -> None:
    assert problems(acted) == problems(acted, head(acted)) == []
    with acted.begin() as connection:
        found = audit.lines(connection, 10)
    assert [line.act for line in reversed(found)] == [Act.DECIDED] * 3 + [Act.VERIFIED, Act.REPLACED, Act.VERIFIED]
    assert {line.actor for line in found} == {audit.os_user()} and "@" in audit.os_user()
    assert [line.seq for line in found] == [6, 5, 4, 3, 2, 1]


TAMPERED = {
    "a decision is changed": ("UPDATE decision SET verdict = 'open' WHERE id = 2", "decision was changed"),
    "its person is changed": ("UPDATE decision SET person = 'B' WHERE id = 2", "decision was changed"),
    "a decision is taken away": ("DELETE FROM decision WHERE id = 2", "decision was taken away"),
    "the last decision is taken away": ("DELETE FROM decision WHERE id = 3", "decision was taken away"),
    "a check is made good": ("UPDATE check_result SET different = 1", "checks were changed"),
    "a check is taken away": ("DELETE FROM check_result WHERE name = 'values'", "checks were changed"),
    "a verification is taken away": ("DELETE FROM verification", "verification was taken away"),
    "its seed is changed": ("UPDATE verification SET seed = 8", "checks were changed"),
    "a line is changed": ("UPDATE audit SET actor = 'airflow:other' WHERE seq = 2", "the line is not the one"),
    "a line is taken out": ("DELETE FROM audit WHERE seq = 2", "1 lines before line 3 are missing"),
    "all lines are taken out": ("DELETE FROM audit", "nobody has noted"),
    "a decision is slipped in": (
        "INSERT INTO decision (id, subject, digest, person, verdict, note, owner, due, at) "
        "VALUES (99, 'exception/9', '', 'A', 'accepted', '', '', '', 't')",
        "nobody has noted",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_somebody_does_behind_its_back_is_found(acted: sa.Engine, name: str) -> None:
    statement, problem = TAMPERED[name]
    with acted.begin() as connection:
        first = connection.scalar(sa.text("SELECT min(id) FROM decision"))
        for number in (3, 2):
            statement = statement.replace(f"id = {number}", f"id = {int(first or 0) + number - 1}")
        connection.execute(sa.text(statement))
    assert any(problem in told for told in problems(acted)), problems(acted)


def test_an_end_cut_off_with_all_that_it_is_about_is_found_by_a_head_kept_elsewhere(acted: sa.Engine) -> None:
    kept = head(acted)
    with acted.begin() as connection:
        decisions.record(connection, "exception/7", "d", Decision("accepted", "A"))
    later = head(acted)
    with acted.begin() as connection:
        connection.exec_driver_sql("DELETE FROM decision WHERE subject = 'exception/7'")
        connection.exec_driver_sql("DELETE FROM audit WHERE seq = 7")
    assert problems(acted) == problems(acted, kept) == [], "the chain by itself cannot tell"
    assert problems(acted, later) == ["7 : the chain ends 1 lines before the head that is given"]


def test_a_chain_written_anew_is_found_by_a_head_kept_elsewhere(acted: sa.Engine) -> None:
    kept = head(acted)
    with acted.begin() as connection:
        before = [(line.act, line.subject, line.digest) for line in reversed(audit.lines(connection, 10))]
        connection.exec_driver_sql("UPDATE decision SET person = 'Nobody'")
        connection.exec_driver_sql("DELETE FROM audit")
        for act, subject, digest in before:
            if act == Act.DECIDED:
                audit.note_decision(connection, int(subject.partition("/")[2]))
            else:
                audit.append(connection, Act(act), subject, digest)
    assert problems(acted) == []
    assert any("another than the one whose head is given" in told for told in problems(acted, kept))


def test_what_is_rolled_back_leaves_no_line(acted: sa.Engine) -> None:
    before = head(acted)
    with pytest.raises(RuntimeError), acted.begin() as connection:
        decisions.record(connection, "exception/8", "d", Decision("accepted", "A"))
        raise RuntimeError
    assert head(acted) == before and problems(acted) == []


def test_many_at_once_make_one_chain(manifest: sa.Engine) -> None:
    def decide(number: int) -> None:
        with manifest.begin() as connection:
            decisions.record(connection, f"exception/{number}", "d", Decision("accepted", "A"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decide, range(40)))
    assert head(manifest).count == 40 and problems(manifest) == []


def test_who_acts_is_asked_of_the_surroundings(manifest: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit._Surroundings, "actor", staticmethod(audit.os_user))
    audit.acted_by(lambda: "airflow:" + "x" * 500)
    with manifest.begin() as connection:
        audit.append(connection, Act.BEGAN, "run/1")
        [line] = audit.lines(connection, 1)
    assert line.actor.startswith("airflow:xxx") and len(line.actor) == 200
    assert problems(manifest) == []
