"""Subscriptions that Medferry has switched off, until it has restored them. Lines among the decisions."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest import decisions
from medferry.manifest.decisions import Decision


class Switch(StrEnum):
    """What is about to be done to a Subscription: noted before it is done."""

    OFF = "off"
    RESTORED = "restored"


def note_switch(connection: sa.Connection, migration: str, place: str, switch: Switch, person: str) -> None:
    """Before a Subscription ("Subscription/<id>") is switched off, or after it is restored."""
    decisions.record(connection, _subject(migration, place), "", Decision(switch, person))


def switched_off(connection: sa.Connection, migration: str, places: Collection[str]) -> set[str]:
    """Of some places those that we have switched off, or were about to, and not restored."""
    subjects = {_subject(migration, place): place for place in places}
    newest = decisions.newest(connection, subjects)
    return {subjects[name] for name, last in newest.items() if last.decision.verdict == Switch.OFF}


def _subject(migration: str, place: str) -> str:
    return f"side-effect/{migration}/{place}"
