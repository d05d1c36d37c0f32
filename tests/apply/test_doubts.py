"""What a look-up tells of a batch that got no answer, step by step, with a clock of its own."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from medferry.apply.doubts import Doubts
from medferry.apply.targets import ResolvedResource
from medferry.manifest.crosswalk import Action, Name
from medferry.manifest.sent_batches import SentBatch, SentEntry

SETTLE = 600.0


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def target(key: str, name: str = "as sent") -> ResolvedResource:
    body = b'{"identifier":[{"system":"urn:s","value":"%s"}],"name":"%s","resourceType":"Organization"}' % (
        key.encode(),
        name.encode(),
    )
    return ResolvedResource(("urn:s", key), "Organization", body, hashlib.sha256(body).hexdigest())


def create(of: ResolvedResource, medplum_id: str = "") -> SentEntry:
    return SentEntry(*of.name, Action.CREATE, of.type, of.hash, medplum_id, "1" if medplum_id else "")


def update(of: ResolvedResource) -> SentEntry:
    return SentEntry(*of.name, Action.UPDATE, of.type, of.hash, "id", "1")


def stored(of: ResolvedResource) -> tuple[str, bytes]:
    return "1", b'{"id":"id","meta":{"versionId":"1"},' + of.body[1:]


A, B, C = target("a"), target("b"), target("c")
ALL = [A, B, C]


def doubts(*entries: SentEntry, age: float = 0.0) -> tuple[Doubts, Clock]:
    clock = Clock()
    made = Doubts(SETTLE, clock)
    made.add([SentBatch(7, "r", "clinic", age, entries)])
    return made, clock


def names(*targets: ResolvedResource) -> set[Name]:
    return {one.name for one in targets}


def test_what_is_not_there_waits_until_its_time_is_over() -> None:
    found, clock = doubts(create(A), create(B), age=100.0)
    assert found.held_back(ALL, {}) == names(A, B)
    clock.now += SETTLE - 101
    assert found.held_back(ALL, {}) == names(A, B)
    clock.now += 2
    assert found.held_back(ALL, {}) == set()
    assert found.ended == set()  # it stays watched


def test_what_is_there_waits_no_more_and_is_an_own_write() -> None:
    found, _ = doubts(create(A))
    assert found.held_back([A], {A.name: [("id", "1")]}) == set()
    assert found.actions == {A.name: Action.CREATE}
    assert found.own(A.name, stored(A)) and not found.own(A.name, stored(target("a", "of somebody else")))
    found.saw(A.name, stored(A))
    assert found.ended == {(7, A.name)}


def test_one_that_came_later_tells_of_those_before_it_but_only_in_the_next_look_up() -> None:
    """This look-up may have asked for the earlier one before the later one was done."""
    found, _ = doubts(create(A), create(B), create(C))
    there = {B.name: [("id", "1")]}
    assert found.held_back(ALL, there) == names(A, C)
    found.saw(B.name, stored(B))
    assert found.tell_more
    assert found.held_back(ALL, there) == names(C)
    assert found.ended == {(7, A.name), (7, B.name)}
    assert not found.tell_more


def test_what_somebody_else_made_tells_nothing_of_those_before_it() -> None:
    found, _ = doubts(create(A), create(B))
    there = {B.name: [("id", "1")]}
    found.held_back(ALL, there)
    found.saw(B.name, stored(target("b", "of somebody else")))
    assert found.held_back(ALL, there) == names(A)


def test_an_id_that_medplum_gave_is_not_taken_back_by_a_later_one() -> None:
    """It said that it has created the earlier one: that this cannot be read is no sign that it failed."""
    found, clock = doubts(create(A, "given"), create(B))
    assert found.given_ids([A.name, B.name]) == {A.name: ("Organization", "given")}
    there = {B.name: [("id", "1")]}
    found.held_back(ALL, there)
    found.saw(B.name, stored(B))
    assert found.held_back(ALL, there) == names(A)
    clock.now += SETTLE
    assert found.held_back(ALL, there) == set()


def test_an_update_is_safe_to_send_again_by_its_condition_but_not_to_be_passed_by() -> None:
    found, _ = doubts(update(A))
    there = {A.name: [("id", "1")]}
    assert found.held_back([A], there) == set()
    assert found.held_back([target("a", "as it was before")], there) == names(A)
    assert found.ended == set()


def test_an_update_of_what_has_moved_on_is_over() -> None:
    for there in ({A.name: [("id", "2")]}, {}):
        found, _ = doubts(update(A))
        assert found.held_back([target("a", "other")], there) == set()
        assert found.ended == {(7, A.name)}


def test_the_longer_time_to_settle_counts_the_sender_s_or_the_judge_s() -> None:
    """Two hosts, two environments: the one has 600 s, the other 1."""
    for judge, sender in ((1.0, SETTLE), (SETTLE, 1.0), (SETTLE, None)):
        clock = Clock()
        found = Doubts(judge, clock, lag=2.0)
        found.add([SentBatch(7, "r", "clinic", 100.0, (create(A),), sender)])
        clock.now += SETTLE - 100 + 1
        assert found.held_back([A], {}) == names(A)
        clock.now += 2
        assert found.held_back([A], {}) == set()


def test_only_the_chunk_s_own_names_count() -> None:
    found = Doubts(SETTLE)
    found.add([SentBatch(7, "r", "clinic", 0.0, (create(A), create(B)))], [B.name])
    assert found.held_back(ALL, {}) == names(B)


def test_what_was_merged_is_no_content_of_ours_alone() -> None:
    merged = replace(update(A), wanted_hash="made")
    for entry, own, hashes in ((update(A), True, {A.hash}), (merged, False, {"made"})):
        doubts = Doubts(SETTLE)
        doubts.add([SentBatch(1, "run", "clinic", 0.0, (entry,))])
        assert (doubts.own(A.name, stored(A)), doubts.hashes(A.name)) == (own, hashes)
