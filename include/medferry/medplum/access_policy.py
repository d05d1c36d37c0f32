"""The entries of an AccessPolicy that let users write, with and without that. Pure.

An entry without `interaction` allows everything, unless it is `readonly`; with it, what it names and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

from medferry.errors import MedferryError

Entry = Mapping[str, Any]


class Interaction(StrEnum):
    """What an entry may allow."""

    READ = "read"
    VREAD = "vread"
    HISTORY = "history"
    SEARCH = "search"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


READING = (Interaction.READ, Interaction.VREAD, Interaction.HISTORY, Interaction.SEARCH)
WRITING = (Interaction.CREATE, Interaction.UPDATE, Interaction.DELETE)
ANY_TYPE = "*"


class PolicyUnfit(MedferryError):
    """An AccessPolicy cannot stand for the gate of a unit."""


class PolicyChanged(MedferryError):
    """Somebody has changed the closed entries of an AccessPolicy: those before cannot be put in their place."""


def of_unit(entries: Sequence[Entry], types: Collection[str], criteria: str) -> list[int]:
    """The places of the entries that are about one of `types` and whose criteria hold the text `criteria`."""
    return [
        place
        for place, entry in enumerate(entries)
        if entry.get("resourceType") in (*types, ANY_TYPE) and criteria in str(entry.get("criteria", ""))
    ]


def lets_write(entry: Entry) -> bool:
    """Whether an entry allows to create, update or delete."""
    named = entry.get("interaction")
    return any(one in WRITING for one in named) if named else not entry.get("readonly")


def closed(entry: Entry) -> dict[str, Any]:
    """The entry without writing. Raises PolicyUnfit for one that allows nothing else."""
    kept = {name: value for name, value in entry.items() if name not in ("readonly", "interaction")}
    reading = [str(one) for one in entry.get("interaction") or READING if one in READING]
    if not reading:
        raise PolicyUnfit(
            f"An entry of {entry.get('resourceType')} allows writing alone, so that nothing would be left of it.",
            "Let it read as well, in Medplum.",
        )
    return {**kept, "interaction": reading}


def with_closed(entries: Sequence[Entry], places: Collection[int]) -> list[dict[str, Any]]:
    """All entries, those at `places` without writing."""
    return [closed(one) if place in places and lets_write(one) else dict(one) for place, one in enumerate(entries)]


def with_opened(entries: Sequence[Entry], before: Sequence[Entry]) -> list[dict[str, Any]]:
    """All entries, with each of `before` as it was in the place of what closing has made of it.

    Raises PolicyChanged where one of them is found neither closed nor as it was.
    """
    found, taken = [dict(one) for one in entries], set[int]()
    for entry in before:
        if not lets_write(entry):
            continue
        without = closed(entry)
        place = next(
            (n for wanted in (entry, without) for n, one in enumerate(found) if one == wanted and n not in taken), -1
        )
        if place < 0:
            raise PolicyChanged(
                f"An entry of {entry.get('resourceType')} is not as closing has left it.",
                "Somebody changed the policy since: compare it with the version before, and write it by hand.",
            )
        taken.add(place)
        found[place] = dict(entry)
    return found
