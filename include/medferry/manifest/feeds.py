"""How far the changes that users make in Medplum were read, per wave and resource type.

A position moves on in the transaction that records what was done about what was read, and only from where it was: of
two that read the same feed one is refused, and what it did is taken back with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest.clock import clock
from medferry.manifest.tables import Time, metadata

feed = sa.Table(
    "feed",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("wave", sa.String(40), primary_key=True),
    sa.Column("resource_type", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(10), primary_key=True, comment="poll, sweep, walk"),
    sa.Column("position", sa.Text, nullable=False, comment="opaque; empty: at the beginning"),
    sa.Column("step", sa.BigInteger, nullable=False, comment="how often it has moved on"),
    sa.Column("passes", sa.BigInteger, nullable=False, comment="how often it came to an end"),
    sa.Column("moved_at", Time, nullable=False),
    sa.Column("passed_at", Time, comment="when it last came to an end"),
    sa.Column(
        "lags", sa.JSON, nullable=False, server_default="[]", comment="seconds until its newest edits were written back"
    ),
    comment="how far the changes that users make in Medplum were read",
)


RECENT = 500
"""Edits of which the lag is kept."""


class FeedKind(StrEnum):
    """By what changes are found."""

    POLL = "poll"
    """In the order of their time, with an overlap."""
    SWEEP = "sweep"
    """All that the crosswalk has is looked for: missed changes, deletions."""
    WALK = "walk"
    """All that Medplum has is looked at: missed births."""


class FeedMoved(MedferryError):
    """Another has read the same feed meanwhile."""


@dataclass(frozen=True, slots=True)
class FeedName:
    """What a position is of."""

    migration: str
    wave: str
    resource_type: str
    kind: FeedKind


@dataclass(frozen=True, slots=True)
class Feed:
    """How far it got."""

    name: FeedName
    position: str
    step: int
    passes: int
    moved_at: str
    passed_at: str | None
    lags: tuple[float, ...] = ()
    """Seconds, by Medplum's clock, from each of its newest edits until the row was written."""


def begin_feed(connection: sa.Connection, name: FeedName, position: str = "") -> Feed:
    """Note where a feed begins; what is known of it stays. Returns how far it got."""
    found = find_feed(connection, name)
    if found is None:
        values = {"position": position, "step": 0, "passes": 0, "moved_at": clock(connection)}
        connection.execute(sa.insert(feed).values(**_key(name), **values))
        found = find_feed(connection, name)
    assert found is not None
    return found


def find_feed(connection: sa.Connection, name: FeedName) -> Feed | None:
    """How far a feed got; None: it never began."""
    columns = (feed.c.position, feed.c.step, feed.c.passes, feed.c.moved_at, feed.c.passed_at, feed.c.lags)
    row = connection.execute(sa.select(*columns).where(*_is(name))).one_or_none()
    return Feed(name, *row[:-1], tuple(row.lags)) if row else None


def move_feed(
    connection: sa.Connection, at: Feed, position: str, passed: bool = False, lags: Sequence[float] = ()
) -> Feed:
    """Move a feed on from where it was found; `passed`: it came to an end. Raises FeedMoved."""
    values: dict[str, object] = {"position": position, "step": at.step + 1, "moved_at": clock(connection)}
    if lags:
        values["lags"] = [*at.lags, *lags][-RECENT:]
    if passed:
        values |= {"passes": feed.c.passes + 1, "passed_at": clock(connection)}
    moved = connection.execute(sa.update(feed).where(*_is(at.name), feed.c.step == at.step).values(values))
    if moved.rowcount != 1:
        raise FeedMoved(
            f"Another process reads Medplum's changes of {at.name.resource_type} for the wave {at.name.wave}.",
            "Nothing of this one was kept. Let one of them do it.",
        )
    found = find_feed(connection, at.name)
    assert found is not None
    return found


def feeds_of(connection: sa.Connection, migration: str, wave: str) -> list[Feed]:
    """All feeds of a wave, by resource type and kind."""
    of = (feed.c.migration == migration, feed.c.wave == wave)
    rows = connection.execute(sa.select(feed).where(*of).order_by(feed.c.resource_type, feed.c.kind))
    return [
        Feed(
            FeedName(migration, wave, row.resource_type, FeedKind(row.kind)),
            *(row.position, row.step, row.passes, row.moved_at, row.passed_at, tuple(row.lags)),
        )
        for row in rows
    ]


def _key(name: FeedName) -> dict[str, str]:
    return {
        "migration": name.migration,
        "wave": name.wave,
        "resource_type": name.resource_type,
        "kind": name.kind,
    }


def _is(name: FeedName) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(feed.c[column] == value for column, value in _key(name).items())
