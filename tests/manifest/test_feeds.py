"""A feed's position moves on from where it was, and from nowhere else."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from medferry.manifest.feeds import FeedKind, FeedMoved, FeedName, begin_feed, feeds_of, find_feed, move_feed

NAME = FeedName("m", "pilot", "Patient", FeedKind.POLL)


def test_a_position_moves_on_and_passes_are_counted(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        assert find_feed(connection, NAME) is None
        first = begin_feed(connection, NAME, "start")
        second = move_feed(connection, first, "next")
        third = move_feed(connection, second, "", passed=True)
        assert (first.position, second.position, third.position) == ("start", "next", "")
        assert (second.passes, second.passed_at, third.passes, third.passed_at is None) == (0, None, 1, False)
        assert begin_feed(connection, NAME, "another start") == third


def test_of_two_readers_one_is_refused(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        mine = begin_feed(connection, NAME, "start")
    with manifest.begin() as connection:
        move_feed(connection, mine, "theirs")
    with pytest.raises(FeedMoved, match="Patient"), manifest.begin() as connection:
        move_feed(connection, mine, "mine")
    with manifest.begin() as connection:
        found = find_feed(connection, NAME)
        assert found is not None and found.position == "theirs"


def test_feeds_of_a_wave_are_its_own(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        for wave, kind in (("pilot", FeedKind.SWEEP), ("pilot", FeedKind.POLL), ("rest", FeedKind.WALK)):
            begin_feed(connection, FeedName("m", wave, "Patient", kind))
        assert [one.name.kind for one in feeds_of(connection, "m", "pilot")] == [FeedKind.POLL, FeedKind.SWEEP]
        assert feeds_of(connection, "other", "pilot") == []
