"""References are known to be none only when everything was read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from medferry.apply import mentions
from medferry.apply.mentions import find_mentions
from medferry.fhir.resource_types import kept_types
from medferry.medplum.errors import MedplumUnavailable, NoVerdict, RequestFailed, RequestRefused, Unauthorised
from medferry.medplum.server_clock import ServerClock

PLACE = "Patient/18aa9dfc-35fd-4902-bf1c-b33e3122b8f5"


class Reading:
    """A client whose every walk ends as it is told, of `kind`; of others there is nothing."""

    def __init__(self, answer: object, kind: str = "") -> None:
        self.answer, self.kind, self.asked = answer, kind, list[tuple[str, Any]]()
        self.server_clock = ServerClock()
        self.server_clock._told = mentions.datetime.fromisoformat("2026-01-01T12:00:00+00:00"), 0.0

    def search_all(self, kind: str, form: Any) -> Iterator[Any]:
        self.asked.append((kind, form))
        if self.kind in ("", kind):
            if isinstance(self.answer, Exception):
                raise self.answer
            yield self.answer


@pytest.mark.parametrize("error", [Unauthorised("403"), RequestFailed("500"), RequestRefused("400"), NoVerdict("?")])
def test_a_type_that_cannot_be_read_is_told_and_the_others_go_on(error: Exception) -> None:
    client: Any = Reading(error)
    assert find_mentions(client, {PLACE: ()}).unchecked == kept_types()
    assert len(client.asked) == len(kept_types())


def test_a_server_that_is_away_is_not_asked_on() -> None:
    client: Any = Reading(MedplumUnavailable("away"))
    assert len(find_mentions(client, {PLACE: ()}).unchecked) == len(client.asked) == 1


def test_for_nothing_nothing_is_read() -> None:
    client: Any = Reading(MedplumUnavailable("away"))
    assert find_mentions(client, {}).unchecked == () and client.asked == []


def test_what_changed_while_it_was_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3600.0, 3600.0, 3601.0])
    monkeypatch.setattr(mentions.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(mentions, "kept_types", lambda: ("Basic",))
    client: Any = Reading({"resourceType": "Basic", "id": "1", "subject": {"reference": PLACE}})
    client.server_clock.now = lambda: "2026-01-01T12:00:00.000Z"
    assert find_mentions(client, {PLACE: ()}).found == {PLACE: ["Basic/1"]}
    assert client.asked == [("Basic", []), ("Basic", [("_lastUpdated", "ge2026-01-01T11:58:00.000+00:00")])]


def test_who_lost_the_hold_reads_no_more() -> None:
    def alive() -> None:
        raise LookupError

    client: Any = Reading({"resourceType": "Basic", "id": "1"})
    with pytest.raises(LookupError):
        find_mentions(client, {PLACE: ()}, alive)
