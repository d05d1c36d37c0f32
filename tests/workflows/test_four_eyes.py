"""Where the plan asks for two people, one has no effect: whatever names he types, however often he says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import local
from unittest.mock import Mock

import pytest

from demo_clinics import database as servers
from medferry.errors import VerificationFailed
from medferry.governance.readiness import GateName
from medferry.manifest import audit, spoken
from medferry.manifest.consents import Consent
from medferry.manifest.cutovers import Direction
from medferry.manifest.database import create_manifest
from medferry.manifest.exceptions import ExceptionRow, exceptions_of
from medferry.manifest.panics import PanicState, record_panic
from medferry.manifest.spoken import Matter
from medferry.plan.people import Approval, FourEyes, Stakeholder
from medferry.runtime.environment import Environment
from medferry.workflows import cutover_approval, cutover_words, four_eyes, readiness
from medferry.workflows.cutover_approval import arm
from medferry.workflows.decide import decide
from medferry.workflows.four_eyes import (
    AnswerIsOver,
    NotAgreed,
    NotAnApprover,
    NothingWaits,
    SamePerson,
    WaitingForSecond,
)
from medferry.workflows.panic import lift, present_panic
from tests.workflows.test_migrate import migrate

PEOPLE = [
    Stakeholder(name="Ann", role="medical director", contact="ann@x", airflow_user="ann", os_user="ann"),
    Stakeholder(name="Bob", role="operations", contact="bob@x", airflow_user="bob", os_user="bob"),
    Stakeholder(name="Cyd", role="security", contact="cyd@x", os_user="cyd"),
]
ANN, ANN_IN_AIRFLOW, BOB, CYD, MALLORY = "os:ann@one", "airflow:ann", "os:bob@two", "os:cyd@one", "os:mallory@one"

As = Callable[[str], None]


def asking(environment: Environment, *acts: Approval, hours: float = 24, units: list[str] | None = None) -> Environment:
    """The same systems, whose plan asks for two people, all of whom may approve everything."""
    people = [one.model_copy(update={"approves": frozenset(Approval)}) for one in PEOPLE]
    changed = {"stakeholders": people, "four_eyes": FourEyes(acts=frozenset(acts), hours=hours) if acts else None}
    plan = environment.migration.plan.model_copy(update=changed)
    return replace(environment, migration=replace(environment.migration, plan=plan))


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> As:
    """Sets whose account acts."""

    def act(actor: str) -> None:
        monkeypatch.setattr(audit._Surroundings, "actor", staticmethod(lambda: actor))

    return act


@pytest.fixture
def held(tiny: Environment) -> Environment:
    """All writing is held; two people are asked for to lift it."""
    create_manifest(tiny.settings.manifest_url)
    hold(tiny)
    return asking(tiny, Approval.PANIC_LIFT)


def hold(tiny: Environment) -> None:
    with tiny.manifest.begin() as connection:
        record_panic(connection, "tiny", PanicState.HELD, "A. Person", "Something is odd.")


def is_held(environment: Environment) -> bool:
    return present_panic(environment) is not None


def lifts(environment: Environment, name: str = "") -> bool:
    return lift(environment, name or audit.actor().partition(":")[2].partition("@")[0], "It was looked at.")


def test_the_first_has_no_effect_and_the_second_does_it(held: Environment, acting: As) -> None:
    acting(ANN)
    with pytest.raises(WaitingForSecond, match=r"panic-lift \(panic/tiny\), and Ann is the first.* Awaited: Bob, Cyd"):
        lifts(held)
    assert is_held(held)
    acting(BOB)
    assert lifts(held) and not is_held(held)
    with held.manifest.begin() as connection:
        assert list(audit.faults(connection)) == []
        said = spoken.all_words(connection, "tiny")
    assert [(word.said.person, word.actor) for word in said] == [("Ann", ANN), ("Bob", BOB)]


def test_one_person_with_two_accounts_and_two_names_is_one(held: Environment, acting: As) -> None:
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        lifts(held, "Ann")
    for actor, name, error in (
        (ANN, "Ann", SamePerson),
        (ANN, "Bob", NotAnApprover),
        ("os:ann@another-machine", "Ann", SamePerson),
        (ANN_IN_AIRFLOW, "Ann", SamePerson),
        (MALLORY, "Bob", NotAnApprover),
        ("airflow:scheduled", "Bob", NotAnApprover),
        ("airflow:cyd", "Cyd", NotAnApprover),
        ("", "Bob", NotAnApprover),
    ):
        acting(actor)
        with pytest.raises(error):
            lifts(held, name)
        assert is_held(held), (actor, name)


def test_the_account_is_the_operating_system_s_and_no_variable_s(monkeypatch: pytest.MonkeyPatch) -> None:
    before = audit.os_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "bob")
    assert audit.os_user() == before


def test_a_word_is_void_when_it_is_old_or_refused_or_about_another_state(
    held: Environment, acting: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        lifts(held)
    [word] = four_eyes.waiting(held)
    acting(BOB)
    assert four_eyes.refuse(held, word.number, "", "Not yet.").said.person == "Ann"
    assert four_eyes.waiting(held) == []
    with pytest.raises(NothingWaits):
        four_eyes.refuse(held, word.number, "", "Not yet.")
    with pytest.raises(WaitingForSecond, match="Bob is the first"):
        lifts(held)
    later = (datetime.now(UTC) + timedelta(hours=25)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with monkeypatch.context() as clock:
        clock.setattr(four_eyes, "read_clock", lambda _: later)
        clock.setattr("medferry.manifest.decisions.read_clock", lambda _: later)
        acting(CYD)
        with pytest.raises(WaitingForSecond, match="Cyd is the first"):
            lifts(held)
    with held.manifest.begin() as connection:
        record_panic(connection, "tiny", PanicState.LIFTED, "Past the plan", "By another copy of it.")
    hold(held)
    acting(ANN)
    with pytest.raises(WaitingForSecond, match="Ann is the first"):
        lifts(held), "what was said of an earlier hold is not of this one"


def test_a_word_is_as_old_as_the_manifest_s_clock_says(
    held: Environment, acting: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets the clock of his own machine, or of his process alone, makes no word younger."""
    ahead = Mock(wraps=datetime)
    ahead.now.return_value = datetime(2099, 1, 1, tzinfo=UTC)
    acting(ANN)
    with monkeypatch.context() as clock:
        for module in ("medferry.manifest.database", "medferry.workflows.four_eyes"):
            clock.setattr(f"{module}.datetime", ahead)
        with pytest.raises(WaitingForSecond):
            lifts(held)
    [word] = four_eyes.waiting(held)
    assert abs(datetime.fromisoformat(word.at) - datetime.now(UTC)) < timedelta(minutes=5)


def test_what_the_plan_says_now_counts(held: Environment, acting: As) -> None:
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        lifts(held)
    plan = held.migration.plan
    without = [one for one in plan.stakeholders if one.name != "Ann"]
    changed = replace(held, migration=replace(held.migration, plan=plan.model_copy(update={"stakeholders": without})))
    acting(BOB)
    with pytest.raises(WaitingForSecond, match="Bob is the first"):
        lifts(changed)
    assert is_held(held)


@pytest.fixture
def found(tiny: Environment) -> tuple[Environment, ExceptionRow]:
    """A run with exceptions; two are asked for to accept one."""
    drift(tiny)
    return asking(tiny, Approval.EXCEPTION), exceptions(tiny)[0]


def drift(environment: Environment) -> None:
    """Two runs, of which the second is not proven: somebody has changed a patient in between."""
    migrate(environment, "first")
    system = environment.migration.naming.system("patient")
    with environment.medplum() as client:
        [patient] = client.search_all("Patient", [("identifier", f"{system}|1")])
        request = {"method": "PUT", "url": f"Patient/{patient['id']}"}
        assert client.batch([{"resource": {**patient, "active": True}, "request": request}], 100)[0].status == 200
    with pytest.raises(VerificationFailed):
        migrate(environment, "second")


def exceptions(environment: Environment) -> list[ExceptionRow]:
    with environment.manifest.begin() as connection:
        return exceptions_of(connection, "second")


def accept(environment: Environment, row: ExceptionRow, action: str = "It is known.") -> str:
    return decide(
        environment, row.id, "accepted", approver=audit.actor().split(":")[1].split("@")[0], action=action
    ).approver


def state(environment: Environment, row: ExceptionRow) -> str:
    return next(one for one in exceptions(environment) if one.id == row.id).decision


def test_an_exception_is_open_until_both_have_accepted_it_with_the_same_action(
    found: tuple[Environment, ExceptionRow], acting: As
) -> None:
    environment, row = found
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        accept(environment, row)
    acting(BOB)
    with pytest.raises(WaitingForSecond, match="Bob is the first"):
        accept(environment, row, "Another action.")
    assert state(environment, row) == "open"
    assert accept(environment, row) == "Ann and Bob" and state(environment, row) == "accepted"
    acting(CYD)
    with pytest.raises(WaitingForSecond):
        decide(environment, row.id, owner="Somebody else")
    assert decide(environment, row.id, "open").decision == "open", "to open it again needs one"
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        accept(environment, row)
    assert state(environment, row) == "open", "what both had said was said of what it was before"


def test_what_one_has_accepted_before_the_plan_asked_does_not_count_for_a_cutover(
    found: tuple[Environment, ExceptionRow], acting: As
) -> None:
    environment, row = found
    alone, about = asking(environment), f"exception/{row.id}"

    def counts(by: Environment = environment) -> bool:
        with environment.manifest.begin() as connection:
            return four_eyes.was_made_by_two(connection, by.migration.plan, Approval.EXCEPTION, about)

    acting(MALLORY)
    accept(alone, row)
    assert counts(alone) and not counts()
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        accept(environment, row)
    acting(BOB)
    accept(environment, row)
    assert counts()
    acting(MALLORY)
    decide(alone, row.id, "open")
    accept(alone, row)
    assert state(environment, row) == "accepted" and not counts(), "by another copy of the plan, after two had said it"


def test_answers_in_airflow_are_those_of_the_accounts_that_gave_them(
    tiny: Environment, acting: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_manifest(tiny.settings.manifest_url)
    environment = asking(tiny, Approval.CUTOVER)
    monkeypatch.setattr(cutover_approval, "check_ready", lambda *_, **__: [])

    def answered(actor: str, name: str) -> str:
        acting(actor)
        return arm(environment, "pilot", Direction.FORTH, "shown", name, datetime.now(UTC), 60).person

    with pytest.raises(NotAgreed, match="nobody has"):
        cutover_words.agree_to_move(environment, "pilot", Direction.FORTH, None)
    assert answered("airflow:ann", "Ann") == "Ann"
    with pytest.raises(NotAgreed, match="Ann has"):
        cutover_words.agree_to_move(environment, "pilot", Direction.FORTH, None)
    with pytest.raises(SamePerson):
        answered("airflow:ann", "Ann")
    assert answered("airflow:bob", "Bob") == "Ann and Bob"
    cutover_words.agree_to_move(environment, "pilot", Direction.FORTH, None)
    with pytest.raises(NotAgreed):
        cutover_words.agree_to_move(environment, "rest", Direction.FORTH, None)
    changed = replace(environment, migration=replace(environment.migration, fingerprint="f" * 64))
    with pytest.raises(NotAgreed):
        cutover_words.agree_to_move(changed, "pilot", Direction.FORTH, None)


def test_an_answer_in_airflow_is_one_word_however_often_its_task_is_cleared(
    tiny: Environment, acting: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_manifest(tiny.settings.manifest_url)
    environment = asking(tiny, Approval.CUTOVER, hours=1)
    monkeypatch.setattr(cutover_approval, "check_ready", lambda *_, **__: [])
    noon = datetime.now(UTC)

    def answered(name: str, at: datetime = noon, of: Environment = environment) -> str:
        acting(f"airflow:{name.lower()}")
        return arm(of, "pilot", Direction.FORTH, "shown", name, at, 1_440).person

    assert answered("Ann") == "Ann"
    other = replace(environment, migration=replace(environment.migration, fingerprint="f" * 64))
    with pytest.raises(AnswerIsOver):
        answered("Ann", of=other), "cleared when the files are others"
    acting(BOB)
    four_eyes.refuse(environment, four_eyes.waiting(environment)[0].number, "", "Not yet.")
    for name in ("Ann", "Bob"):
        with pytest.raises(AnswerIsOver):
            answered(name), "given before the refusal"
    with pytest.raises(AnswerIsOver):
        answered("Ann", noon - timedelta(hours=2)), "older than a word may be"
    assert four_eyes.waiting(environment) == []
    assert answered("Ann", datetime.now(UTC)) == "Ann"


def test_a_run_that_somebody_triggered_before_lifts_nothing_when_another_clears_it(
    held: Environment, acting: As
) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    acting("airflow:bob")
    with pytest.raises(AnswerIsOver):
        lift(held, "Bob", "It was looked at.", before)
    with pytest.raises(WaitingForSecond):
        lift(held, "Bob", "It was looked at.", datetime.now(UTC))
    assert is_held(held)


def test_a_condition_that_one_has_accepted_is_not(
    tiny: Environment, acting: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_manifest(tiny.settings.manifest_url)
    environment, gate = asking(tiny, Approval.READINESS), GateName.DEAD_LETTERS
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        readiness.accept(environment, "pilot", gate, Consent.ACCEPTED, "Ann", "They are known.")
    facts = readiness._facts(environment, "pilot")
    assert facts.accepted(gate) is None
    alone = asking(environment)
    readiness.accept(alone, "pilot", gate, Consent.ACCEPTED, "Ann", "They are known.")
    assert readiness._facts(alone, "pilot").accepted(gate) is not None
    assert facts.accepted(gate) is None, "one person, before the plan asked for two"
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        readiness.accept(environment, "pilot", gate, Consent.ACCEPTED, "Ann", "They are known.")
    assert facts.accepted(gate) is None
    acting(BOB)
    readiness.accept(environment, "pilot", gate, Consent.ACCEPTED, "Bob", "They are known.")
    assert facts.accepted(gate) is not None


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with servers.embedded() as server:
        yield server.url


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_of_two_command_lines_at_once_one_is_the_first_and_one_the_second(
    tiny: Environment, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    own = tiny.settings.manifest_url if engine == "sqlite" else request.getfixturevalue("postgresql")
    create_manifest(own)
    environment = asking(replace(tiny, settings=replace(tiny.settings, manifest_url=own)), Approval.PANIC_LIFT)
    who = local()
    monkeypatch.setattr(audit._Surroundings, "actor", staticmethod(lambda: who.actor))

    def says(actor: str, number: int) -> bool:
        who.actor = actor
        with environment.manifest.begin() as connection:
            matter = Matter("tiny", Approval.PANIC_LIFT, f"panic/{number}", "d")
            try:
                return four_eyes.say(connection, environment.migration.plan, matter, "").agreed
            except SamePerson:
                return False

    for number in range(6):
        with ThreadPoolExecutor(4) as pool:
            alone = list(pool.map(lambda _, of=number: says(ANN, of), range(4)))
            assert alone == [False] * 4, "one person, four times at once"
            both = list(pool.map(lambda actor, of=number: says(actor, of + 100), (ANN, BOB)))
        assert sorted(both) == [False, True]
    with environment.manifest.begin() as connection:
        assert list(audit.faults(connection)) == []
        assert len(spoken.all_words(connection, "tiny")) == 6 * 3
