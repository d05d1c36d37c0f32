"""Changes in Medplum are told once each and none is missed, in whatever order they become visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from medferry.errors import OptionError
from medferry.medplum.changes import (
    ChangePosition,
    PositionUnreadable,
    begin,
    instant_of,
    milliseconds,
    next_page,
)
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import NoVerdict

START = "2026-11-28T10:00:00.000Z"
OVERLAP = 120_000
SIZE = 3


@dataclass
class Version:
    id: str
    version_id: str
    at: int
    visible_at: int
    deleted: bool


@dataclass
class Server:
    """Medplum's searches by time. A version is stamped first, and visible when its transaction commits."""

    now: int = milliseconds(START)
    versions: list[Version] = field(default_factory=list)
    searches: int = 0

    def write(self, id_: str, delay: int = 0, deleted: bool = False) -> None:
        mine = [one for one in self.versions if one.id == id_]
        if mine and mine[-1].visible_at > self.now:
            return  # its row is locked
        if sum(one.at == self.now for one in self.versions) >= SIZE - 1:
            self.now += 1
        self.versions.append(Version(id_, f"v{len(self.versions)}", self.now, self.now + delay, deleted))

    def current(self) -> list[Version]:
        shown = {one.id: one for one in self.versions if one.visible_at <= self.now}
        return [one for one in shown.values() if not one.deleted]

    def search(self, resource_type: str, form: Sequence[tuple[str, str]]) -> dict[str, Any]:
        asked = dict(form)
        assert "_offset" not in asked
        self.searches += 1
        since = milliseconds(asked["_lastUpdated"].removeprefix("ge")) if "_lastUpdated" in asked else 0
        found = sorted((one for one in self.current() if one.at >= since), key=lambda one: (one.at, one.version_id))
        if asked["_sort"].startswith("-"):
            found.reverse()
        found = found[: int(asked["_count"])]
        metas = [{"versionId": one.version_id, "lastUpdated": instant_of(one.at)} for one in found]
        resources = [{"resourceType": resource_type, "id": f.id, "meta": m} for f, m in zip(found, metas, strict=True)]
        return {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]}


@dataclass
class Reader:
    """Reads pages and keeps position and changes together, as one transaction would."""

    server: Server
    position: ChangePosition = field(default_factory=lambda: begin(START))
    told: list[tuple[str, str]] = field(default_factory=list)

    def page(self, kept: bool = True) -> bool:
        """`kept`: else it died before it could keep what it had read. The position is always read from its text."""
        client = cast(MedplumClient, self.server)
        page = next_page(client, "Patient", ChangePosition.of(self.position.text), size=SIZE)
        if kept:
            self.position = page.position
            self.told += [(one.id, one.version_id) for one in page.changes]
        return page.more

    def walk(self) -> None:
        while self.page():
            pass


Step = Callable[[Reader], object]

IDS = st.sampled_from("abcdefgh")
STEPS = st.one_of(
    st.builds(lambda i, d: lambda r: r.server.write(i, d), IDS, st.sampled_from([0, 0, 1, 50_000, OVERLAP])),
    st.builds(lambda i: lambda r: r.server.write(i, deleted=True), IDS),
    st.builds(lambda t: lambda r: setattr(r.server, "now", r.server.now + t), st.sampled_from([0, 1, 9, 70_000])),
    st.just(lambda r: r.page()),
    st.just(lambda r: r.page(kept=False)),
    st.just(lambda r: r.walk()),
)


def judge(steps: Sequence[Step], overlap: int) -> None:
    """Whatever happened, the last versions are all told, none twice, and what is remembered stays small."""
    reader = Reader(Server())
    reader.position = replace(reader.position, overlap=overlap)
    for step in steps:
        step(reader)
    reader.server.now += OVERLAP
    reader.walk()  # to the end of one that may be at work: what became visible behind its head is the next one's
    reader.walk()
    current = {(one.id, one.version_id) for one in reader.server.current()}
    assert current <= set(reader.told), "missed"
    assert len(reader.told) == len(set(reader.told)), "told twice"
    after = reader.position
    assert all(at >= after.low for at in after.seen.values())
    assert after.low == after.head and after.newest is None


@given(st.lists(STEPS, max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_change_is_missed_and_none_is_told_twice(steps: list[Step]) -> None:
    judge(steps, OVERLAP)


def test_without_an_overlap_the_property_fails() -> None:
    @given(st.lists(STEPS, max_size=60))
    @settings(max_examples=2_000, deadline=None, database=None, phases=[Phase.generate], report_multiple_bugs=False)
    def judged(steps: list[Step]) -> None:
        judge(steps, 0)

    with pytest.raises(AssertionError, match="missed"):
        judged()


def test_an_overlap_that_covers_too_little_grows_by_what_came_late() -> None:
    reader = Reader(Server())
    reader.server.write("slow", 100_000)
    for number in range(9):
        reader.server.write(f"n{number}")
        reader.walk()
        reader.server.now += 11_000
    reader.server.now += 1_000
    reader.walk()
    assert reader.told[-1][0] == "slow" and len(reader.told) == 10
    assert reader.position.late == 88_000 and reader.position.overlap == 176_000


def test_what_commits_while_a_long_walk_is_at_work_is_in_the_next() -> None:
    """The overlap counts from where a walk began: its end is far from its first page."""
    reader = Reader(Server())
    reader.server.write("slow", 110_000)
    for number in range(9):
        reader.server.now += 10
        reader.server.write(f"n{number}")
    while reader.page():
        reader.server.now += 100_000
        reader.server.write(f"n{len(reader.told)}")
    reader.walk()
    assert ("slow", "v0") in reader.told
    assert len(reader.told) == len(set(reader.told))


def test_a_walk_that_writers_outrun_ends_and_remembers_little() -> None:
    reader = Reader(Server())
    for number in range(400):
        reader.server.now += 5_000
        reader.server.write(f"n{number}")
        if number > 50:
            reader.page()
        assert len(reader.position.seen) <= 2 * OVERLAP // 5_000 + 2 * SIZE
    reader.walk()
    assert sorted(reader.told) == sorted((f"n{number}", f"v{number}") for number in range(400))


def test_a_quiet_type_costs_one_search() -> None:
    reader = Reader(Server())
    reader.walk()
    assert (reader.server.searches, reader.told, reader.position.settled) == (1, [], None)
    reader.server.write("a")
    reader.walk()
    reader.walk()
    assert (reader.server.searches, reader.told) == (3, [("a", "v0")])


def test_a_page_full_of_one_moment_is_an_error_and_no_endless_walk() -> None:
    reader = Reader(Server())
    for number in range(SIZE):
        reader.server.versions.append(Version(f"{number}", f"v{number}", reader.server.now, 0, False))
    with pytest.raises(NoVerdict, match="one moment"):
        reader.walk()


def test_what_is_no_position_or_no_start_is_refused() -> None:
    for text in ("", "[]", "{}", '{"low": 1, "head": 2, "other": 3}'):
        with pytest.raises(PositionUnreadable):
            ChangePosition.of(text)
    for instant, overlap in ((START, 119), ("yesterday", 120), ("2026-11-28", 120)):
        with pytest.raises(OptionError):
            begin(instant, overlap)


def test_an_instant_keeps_its_millisecond() -> None:
    for number in range(1_000):
        text = f"2026-11-28T10:00:00.{number:03}Z"
        assert instant_of(milliseconds(text)) == text
