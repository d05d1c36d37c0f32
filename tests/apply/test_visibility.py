"""What a client sees of its own writes, and whether the server can write; with a client told what to show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest

from medferry.apply.visibility import Visibility, WritesHidden
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.errors import MedplumUnavailable

NAME = ("urn:s", "1")
TEXT = (
    b'{"resourceType":"Patient","id":"a","meta":{"versionId":"1","lastUpdated":"t","tag":[{"code":"x"}]},"active":true}'
)

WITH_ACCOUNTS = TEXT.replace(b'"meta":{', b'"meta":{"accounts":[{"reference":"Organization/1"}],')


class Client:
    """Shows what was created under the id after `reads` reads, under the identifier after `searches` searches."""

    def __init__(self, reads: float = 0, searches: float = 0, statuses: Sequence[int] = ()) -> None:
        self.reads, self.searches, self.statuses, self.sent = reads, searches, list(statuses), list[Any]()
        self.has_accounts = False

    def read_each(self, *_: Any, extended: bool = False) -> dict[str, tuple[str, bytes]]:
        self.reads -= 1
        if self.reads >= 0:
            return {}
        return {"a": ("1", (WITH_ACCOUNTS if extended and self.has_accounts else TEXT))}

    def by_name(self, *_: Any) -> list[dict[str, Any]]:
        self.searches -= 1
        return [{"id": "a"}] if self.searches < 0 else []

    def batch(self, entries: Sequence[dict[str, Any]], _cost: int, extended: bool = False) -> list[EntryOutcome]:
        assert extended == self.has_accounts
        self.sent += [orjson.loads(orjson.dumps(entry)) for entry in entries]
        status = self.statuses.pop(0)
        if not status:
            raise MedplumUnavailable("no answer")
        return [EntryOutcome(status, id="a", version="1")]


@pytest.fixture
def clock() -> Iterator[Any]:
    class Clock:
        now = 0.0

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    return iter([Clock()])


def visibility(client: Client, clock: Any, settle: float = 600.0) -> Visibility:
    time = next(clock)
    return Visibility(client, settle, lambda: time.now, time.sleep)  # type: ignore[arg-type]


def test_what_shows_at_once_is_no_lag(clock: Any) -> None:
    seen = visibility(Client(), clock)
    assert not seen.is_known("Patient")
    seen.prove("Patient", NAME, "a")
    assert seen.is_known("Patient") and not seen.is_known("Observation")
    assert seen.lag == 0.0


@pytest.mark.parametrize("late", [{"reads": 5}, {"searches": 5}])
def test_a_lag_is_measured_and_the_largest_kept(clock: Any, late: dict[str, int]) -> None:
    seen = visibility(Client(**late), clock)
    seen.prove("Patient", NAME, "a")
    assert 0.3 < (measured := seen.lag) < 2
    seen.prove("Observation", NAME, "a")
    assert seen.lag == measured


@pytest.mark.parametrize(
    ("hidden", "how"), [({"reads": 10**9}, "cannot read"), ({"searches": 10**9}, "no search finds")]
)
def test_what_never_shows_is_refused_at_the_second_of_a_type(clock: Any, hidden: dict[str, int], how: str) -> None:
    seen = visibility(Client(**hidden), clock)
    seen.prove("Patient", NAME, "a")
    seen.prove("Observation", NAME, "a")
    assert not seen.is_known("Patient")
    with pytest.raises(WritesHidden, match=f"Patient/a, which .*{re.escape(how)} after 60 s.*AccessPolicy"):
        seen.prove("Patient", NAME, "a")


def test_a_write_is_put_back_as_it_is(clock: Any) -> None:
    client = Client(statuses=[200, 400, 0, 412])
    seen = visibility(client, clock)
    assert not seen.can_write() and not client.sent
    seen.keep("Patient", "a", ("1", TEXT))
    assert [seen.can_write() for _ in range(4)] == [True, False, False, False]
    assert client.sent[0] == {
        "resource": {"resourceType": "Patient", "id": "a", "meta": {"tag": [{"code": "x"}]}, "active": True},
        "request": {"method": "PUT", "url": "Patient/a", "ifMatch": 'W/"1"'},
    }
    assert not seen.can_control  # somebody has changed it: another will do


@pytest.mark.parametrize("status", [401, 403, 404, 410, 412])
def test_what_cannot_be_put_back_for_a_reason_of_its_own_tells_nothing_of_the_server(clock: Any, status: int) -> None:
    seen = visibility(Client(statuses=[status]), clock)
    seen.keep("Patient", "a", ("1", TEXT))
    assert not seen.can_write() and not seen.can_control


def test_a_write_is_put_back_with_who_may_see_it(clock: Any) -> None:
    client = Client(statuses=[200])
    client.has_accounts = True
    seen = visibility(client, clock)
    seen.keep("Patient", "a", ("1", TEXT))
    client.reads = 0
    assert seen.can_write()
    assert client.sent[0]["resource"]["meta"]["accounts"] == [{"reference": "Organization/1"}]
