"""A batch leaves soon after its note or not at all, by whichever clock went on while nothing else did."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from medferry.apply import departure
from medferry.apply.batch import BatchSender
from medferry.apply.departure import Noted, NotSent, longest_delay, read_clocks
from medferry.apply.doubts import Doubts
from medferry.apply.targets import ResolvedResource
from medferry.apply.visibility import Visibility
from medferry.apply.writer import Writer
from medferry.manifest.crosswalk import ConfirmedWrite
from medferry.manifest.sent_batches import SentEntry
from medferry.medplum.limiter import ConcurrencyLimiter
from medferry.runtime.environment import Environment

SETTLE = 600.0


class Clocks:
    """Three clocks in the place of the process's; each can be set forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = [10.0, 1_000.0, 0.0]
        monkeypatch.setattr(departure, "_CLOCKS", [lambda at=at: self.now[at] for at in range(3)])

    def stand_still(self, seconds: float, which: int = 0) -> None:
        self.now[which] += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.mark.parametrize("which", range(3))
def test_one_clock_that_went_on_is_enough(which: int, clocks: Clocks) -> None:
    noted = Noted(1, read_clocks())
    clocks.stand_still(59.0, which)
    noted.check(SETTLE)
    clocks.stand_still(2.0, which)
    with pytest.raises(NotSent, match="noted 61 s ago and not sent"):
        noted.check(SETTLE)


def test_the_delay_is_a_small_part_of_the_time_to_settle() -> None:
    assert [longest_delay(settle) for settle in (0.5, 5.0, 60.0, 600.0, 7_200.0)] == [0.5, 1.0, 6.0, 60.0, 60.0]


def test_the_machine_s_clocks_are_asked() -> None:
    before, now = read_clocks(), read_clocks()
    assert len(now) == 3 and all(later >= earlier for later, earlier in zip(now, before, strict=True))
    assert now[0] >= before[0] > 0 and abs(now[1] - time.time()) < 60


def test_what_is_late_is_noted_anew_and_sent_once(tiny: Environment, clocks: Clocks) -> None:
    name = ("https://tiny.example/legacy/clinic", "late")
    body = (
        b'{"identifier":[{"system":"%s","value":"late"}],"name":"N","resourceType":"Organization"}' % name[0].encode()
    )
    notes: list[int] = []

    def note(_: Sequence[SentEntry]) -> Noted:
        noted = Noted(len(notes), read_clocks())
        notes.append(noted.number)
        if len(notes) == 1:
            clocks.stand_still(3_600.0)
        return noted

    with tiny.medplum() as client:
        sender = BatchSender(client, ConcurrencyLimiter(1), "clinic", note, lambda: None, SETTLE)
        writer = Writer(sender, 200, Doubts(SETTLE), Visibility(client, 0.5), conditional=False, sleep=lambda _: None)
        result = writer.write([ResolvedResource(name, "Organization", body, "")], {})
        assert client.count("Organization", [("identifier", "|".join(name))]) == 1
    assert isinstance(result.settled[name], ConfirmedWrite)
    assert notes == [0, 1] and result.closed == {0, 1}
    assert [attempt.status for attempt in result.attempts] == [0, 201]
    assert result.unanswered == {} and result.waiting == set()
