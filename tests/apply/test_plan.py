"""The comparison of what is wanted, what the crosswalk knows and what Medplum has; and the judgement of a read-back."""

from __future__ import annotations

import pytest

from medferry.apply.plan import Drift, DriftPolicy, Failed, Location, Planner, Step, confirmed
from medferry.apply.proof import Answered, prove
from medferry.apply.targets import ResolvedResource
from medferry.manifest.crosswalk import Action, ConfirmedWrite, CrosswalkEntry, Effect
from medferry.medplum.answers import EntryOutcome

NAME = ("urn:s", "1")
WANTED = ResolvedResource(NAME, "Patient", b'{"active":true,"resourceType":"Patient"}', "new")
EQUAL = b'{"resourceType":"Patient","id":"a","meta":{"versionId":"2"},"active":true}'
OTHER = b'{"resourceType":"Patient","id":"a","meta":{"versionId":"2"},"active":false}'
MORE = b'{"resourceType":"Patient","id":"a","meta":{"versionId":"3"},"active":true,"gender":"female"}'
OLD, SAME = CrosswalkEntry("a", "1", "old", "Patient"), CrosswalkEntry("a", "1", "new", "Patient")
PERSON = CrosswalkEntry("a", "1", "old", "Person")
CONFLICT, OVERWRITE, MERGE = DriftPolicy


def planner(entry: CrosswalkEntry | None, policy: DriftPolicy = CONFLICT) -> Planner:
    return Planner("patient", {NAME: entry} if entry else {}, policy)


@pytest.mark.parametrize(
    ("entry", "found", "policy", "step"),
    [
        (None, [], CONFLICT, Step(WANTED, Action.CREATE)),
        (None, [], OVERWRITE, Step(WANTED, Action.CREATE)),
        (PERSON, [], OVERWRITE, Step(WANTED, Action.CREATE)),
        (OLD, [("a", "1")], CONFLICT, Step(WANTED, Action.UPDATE, "a", "1")),
    ],
)
def test_what_is_sent(entry: CrosswalkEntry | None, found: list[Location], policy: DriftPolicy, step: Step) -> None:
    plan = planner(entry, policy).by_version([WANTED], {NAME: found})
    assert (plan.steps, plan.settled, plan.drifts) == ([step], {}, [])


def test_what_is_as_it_was_is_settled() -> None:
    plan = planner(SAME).by_version([WANTED], {NAME: [("a", "1")]})
    assert (plan.steps, plan.drifts) == ([], [])
    assert plan.settled == {NAME: confirmed("patient", WANTED, ("a", "1"), "unchanged")}


@pytest.mark.parametrize("policy", list(DriftPolicy))
def test_several_resources_are_for_a_person(policy: DriftPolicy) -> None:
    plan = planner(OLD, policy).by_version([WANTED], {NAME: [("a", "1"), ("b", "1")]})
    assert plan.settled == {NAME: Failed("quarantined", "ambiguous-target", "2 resources: a, b")}


def test_a_deletion_is_for_a_person() -> None:
    plan = planner(OLD).by_version([WANTED], {})
    assert (plan.steps, plan.settled) == ([], {NAME: Failed("quarantined", "target-deleted", "Patient/a")})


@pytest.mark.parametrize("entry", [OLD, SAME])
def test_only_what_medplum_calls_deleted_is_created_again_when_asked(entry: CrosswalkEntry) -> None:
    plan = planner(entry, OVERWRITE).by_version([WANTED], {}, gone={"a"})
    assert (plan.steps, plan.settled) == ([Step(WANTED, Action.CREATE)], {})
    plan = planner(entry, OVERWRITE).by_version([WANTED], {}, gone={"another"})
    assert (plan.steps, plan.settled) == ([], {NAME: Failed("quarantined", "target-changed", "Patient/a: unreadable")})


def test_what_no_look_up_finds_and_is_to_be_written_all_the_same_is_read_by_its_id() -> None:
    assert planner(OLD, OVERWRITE).to_read([WANTED], {}) == {NAME: ("Patient", "a")}
    assert planner(OLD, OVERWRITE).to_read([WANTED], {NAME: [("a", "2")]}) == {}
    for other in (planner(None, OVERWRITE), planner(PERSON, OVERWRITE), planner(OLD)):
        assert other.to_read([WANTED], {}) == {}


@pytest.mark.parametrize("entry", [None, OLD, SAME])
def test_another_version_is_told_by_its_content(entry: CrosswalkEntry | None) -> None:
    plan = planner(entry).by_version([WANTED], {NAME: [("a", "2")]})
    assert (plan.steps, plan.settled, plan.drifts) == ([], {}, [Drift(WANTED, "a", "2")])


@pytest.mark.parametrize("policy", list(DriftPolicy))
@pytest.mark.parametrize(
    ("unanswered", "action"),
    [({}, "unchanged"), ({NAME: Action.CREATE}, "created"), ({NAME: Action.UPDATE}, "updated")],
)
def test_equal_content_is_adopted(unanswered: dict[tuple[str, str], Action], action: str, policy: DriftPolicy) -> None:
    plan = planner(OLD, policy).by_content([Drift(WANTED, "a", "2")], {"a": ("2", EQUAL)}, unanswered)
    assert (plan.steps, plan.settled) == ([], {NAME: confirmed("patient", WANTED, ("a", "2"), action)})


def test_different_content_follows_the_policy() -> None:
    drifts, contents = [Drift(WANTED, "a", "2")], {"a": ("2", OTHER)}
    plan = planner(OLD).by_content(drifts, contents, {})
    assert (plan.steps, plan.settled) == ([], {NAME: Failed("quarantined", "target-changed", "Patient/a")})
    plan = planner(OLD, OVERWRITE).by_content(drifts, contents, {})
    assert (plan.steps, plan.settled) == ([Step(WANTED, Action.UPDATE, "a", "2")], {})


@pytest.mark.parametrize("entry", [None, CrosswalkEntry("b", "1", "old", "Patient")])
def test_what_the_crosswalk_does_not_know_as_ours_is_never_written_over(entry: CrosswalkEntry | None) -> None:
    drifts, contents = [Drift(WANTED, "a", "2")], {"a": ("2", OTHER)}
    plan = planner(entry, OVERWRITE).by_content(drifts, contents, {})
    assert (plan.steps, plan.settled) == ([], {NAME: Failed("quarantined", "target-changed", "Patient/a")})
    plan = planner(entry, OVERWRITE).by_content(drifts, contents, {}, lambda *_: True)  # sent, its answer lost
    assert (plan.steps, plan.settled) == ([Step(WANTED, Action.UPDATE, "a", "2")], {})


@pytest.mark.parametrize("policy", list(DriftPolicy))
def test_what_is_gone_before_it_is_read_is_left_to_the_next_round(policy: DriftPolicy) -> None:
    plan = planner(OLD, policy).by_content([Drift(WANTED, "a", "2")], {}, {})
    assert (plan.steps, plan.settled) == ([], {})


CREATE, UPDATE = Step(WANTED, Action.CREATE), Step(WANTED, Action.UPDATE, "a", "1")


@pytest.mark.parametrize(
    ("step", "status", "action"),
    [(CREATE, 201, "created"), (CREATE, 200, "unchanged"), (UPDATE, 200, "updated")],
)
def test_what_reads_back_as_it_was_written_is_proven(step: Step, status: int, action: str) -> None:
    answered = [Answered(step, EntryOutcome(status, "", "a", "2"))]
    assert prove("patient", answered, {"a": ("2", EQUAL)}, {}) == {
        NAME: confirmed("patient", WANTED, ("a", "2"), action)
    }


def test_an_own_create_whose_answer_was_lost_is_a_create() -> None:
    answered = [Answered(CREATE, EntryOutcome(200, "", "a", "2"))]
    [settled] = prove("patient", answered, {"a": ("2", EQUAL)}, {NAME: Action.CREATE}).values()
    assert settled == confirmed("patient", WANTED, ("a", "2"), "created")


def test_an_update_that_made_no_new_version_changed_nothing() -> None:
    answered = [Answered(UPDATE, EntryOutcome(200, "", "a", "1"))]
    [settled] = prove("patient", answered, {"a": ("1", EQUAL)}, {}).values()
    assert settled == confirmed("patient", WANTED, ("a", "1"), "unchanged")


@pytest.mark.parametrize("contents", [{}, {"a": ("3", EQUAL)}])
def test_what_does_not_read_back_in_its_version_is_not_settled(contents: dict[str, tuple[str, bytes]]) -> None:
    assert prove("patient", [Answered(CREATE, EntryOutcome(201, "", "a", "2"))], contents, {}) == {}


def test_what_was_stored_differently_is_for_a_person() -> None:
    stored = {"a": ("2", OTHER)}
    for step, status in ((CREATE, 201), (UPDATE, 200)):
        settled = prove("patient", [Answered(step, EntryOutcome(status, "", "a", "2"))], stored, {})
        assert settled == {NAME: Failed("quarantined", "stored-differently", "Patient/a")}


def test_another_s_resource_that_a_conditional_create_found_is_compared_by_the_next_round() -> None:
    assert prove("patient", [Answered(CREATE, EntryOutcome(200, "", "a", "2"))], {"a": ("2", OTHER)}, {}) == {}


def test_what_a_bot_has_added_to_at_once_is_proven_in_the_version_that_was_written() -> None:
    for step, status, action in ((CREATE, 201, "created"), (UPDATE, 200, "updated")):
        settled = prove("patient", [Answered(step, EntryOutcome(status, "", "a", "2"))], {"a": ("3", MORE)}, {})
        assert settled == {NAME: confirmed("patient", WANTED, ("a", "2"), action)}


def test_the_version_before_an_update_does_not_prove_it_though_it_holds_all_that_was_written() -> None:
    assert prove("patient", [Answered(UPDATE, EntryOutcome(200, "", "a", "2"))], {"a": ("1", MORE)}, {}) == {}


def test_more_in_the_very_version_that_was_written_is_stored_differently() -> None:
    [settled] = prove("patient", [Answered(CREATE, EntryOutcome(201, "", "a", "2"))], {"a": ("2", MORE)}, {}).values()
    assert settled == Failed("quarantined", "stored-differently", "Patient/a")


MERGED = CrosswalkEntry("a", "2", "stored", "Patient", wanted_hash="new")
BEFORE = CrosswalkEntry("a", "2", "stored", "Patient", wanted_hash="old")


@pytest.mark.parametrize("policy", [CONFLICT, MERGE])
def test_what_was_merged_is_as_it_was_as_long_as_the_row_is(policy: DriftPolicy) -> None:
    [settled] = planner(MERGED, policy).by_version([WANTED], {NAME: [("a", "2")]}).settled.values()
    assert settled == ConfirmedWrite(*NAME, "patient", "Patient", "a", "2", "stored", Effect.UNCHANGED, "new")


@pytest.mark.parametrize(("entry", "policy"), [(BEFORE, CONFLICT), (BEFORE, MERGE)])
def test_an_update_of_what_was_merged_looks_at_what_others_added(entry: CrosswalkEntry, policy: DriftPolicy) -> None:
    plan = planner(entry, policy).by_version([WANTED], {NAME: [("a", "2")]})
    assert (plan.steps, plan.settled, plan.drifts) == ([], {}, [Drift(WANTED, "a", "2")])
    plan = planner(entry, policy).by_content(plan.drifts, {"a": ("2", OTHER)}, {})
    assert plan.settled == {NAME: Failed("quarantined", "target-changed", "Patient/a")}


@pytest.mark.parametrize("entry", [MERGED, BEFORE])
def test_overwriting_writes_over_what_was_merged(entry: CrosswalkEntry) -> None:
    plan = planner(entry, OVERWRITE).by_version([WANTED], {NAME: [("a", "2")]})
    assert plan.steps == [Step(WANTED, Action.UPDATE, "a", "2")]


def test_a_merge_is_sent_for_the_very_version_that_was_read() -> None:
    base = {"resourceType": "Patient", "active": False}
    drifts, contents = (
        [Drift(WANTED, "a", "2")],
        {"a": ("3", b'{"resourceType":"Patient","active":false,"gender":"x"}')},
    )
    [step] = planner(OLD, MERGE).by_content(drifts, contents, {}, bases={NAME: base}).steps
    assert (step.id, step.version, step.target.wanted) == ("a", "3", "new")
    assert step.target.body == b'{"active":true,"gender":"x","resourceType":"Patient"}'


def test_where_both_are_kept_what_others_changed_beside_an_unchanged_row_stays_unless_ours_is_in_doubt() -> None:
    drifts, contents = [Drift(WANTED, "a", "2")], {"a": ("2", OTHER)}
    assert planner(SAME, MERGE).by_content(drifts, contents, {}).settled == {
        NAME: confirmed("patient", WANTED, ("a", "1"), "unchanged")
    }
    doubted = planner(SAME, MERGE).by_content(drifts, contents, {NAME: Action.UPDATE})
    assert doubted.settled == {NAME: Failed("quarantined", "target-changed", "Patient/a")}


def test_what_others_added_beside_an_unchanged_content_is_no_conflict() -> None:
    drifts = [Drift(WANTED, "a", "3")]
    plan = planner(SAME).by_content(drifts, {"a": ("3", MORE)}, {})
    assert plan.settled == {NAME: confirmed("patient", WANTED, ("a", "1"), "unchanged")}
    for entry in (None, OLD):  # what is wanted is not what was written: an element that went would stay
        [settled] = planner(entry).by_content(drifts, {"a": ("3", MORE)}, {}).settled.values()
        assert settled == Failed("quarantined", "target-changed", "Patient/a")
