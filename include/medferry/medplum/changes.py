"""What changed in Medplum, polled per resource type in the order of `lastUpdated`, page by page.

Medplum stamps a version before it commits, so that one may become visible after a later one was read. Each walk
therefore begins an overlap before the newest instant of when the last one *began*, and a position keeps the versions
of that overlap that were told already. All instants are Medplum's; how long a version may stay invisible (a slow
transaction, and how far the clocks of Medplum's servers are apart) is what the overlap has to cover. It starts at two
minutes, and grows to twice the largest lateness that was seen. What it does not cover, deletions and changes under an
access policy that was widened, a sweep finds.

Pages go on by instant, not by offset (offsets end at 10,000): the next begins at the last one's last instant, which is
read again, as Medplum's own cursor does. So each page is a request of its own, and a position is all that a restart
needs. A page costs 20 points; the first of a walk with more than a page costs 60, since the newest instant must be
known before what precedes it is taken for complete. A poll that finds nothing costs 20.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from medferry.errors import MedferryError, OptionError
from medferry.medplum.client import PAGE, MedplumClient
from medferry.medplum.errors import MedplumUnavailable, NoVerdict

Resource = dict[str, Any]

LEAST_OVERLAP_SECONDS = 120

_LATENESS_COVERED = 2
"""The overlap is at least so many times the largest lateness that was seen."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class PositionUnreadable(MedferryError):
    """A kept position in Medplum's changes is none. To begin anew by itself would lose changes without a word."""


@dataclass(frozen=True, slots=True)
class Change:
    """A version of a resource that was current when it was looked at; `at` is its `lastUpdated` in ms since 1970."""

    id: str
    version_id: str
    at: int
    resource: Resource = field(repr=False)

    @staticmethod
    def of(resource: Resource) -> Change:
        """The version that a resource is. Raises KeyError, TypeError, ValueError where it does not say which."""
        meta = resource["meta"]
        return Change(resource["id"], meta["versionId"], milliseconds(meta["lastUpdated"]), resource)


def whole_changes(client: MedplumClient, resource_type: str, ids: Sequence[str]) -> list[Change]:
    """The resources of some ids (at most 1,000) as a search shows them now, which is not all of them; 20 points."""
    read = client.texts_by_id(resource_type, ids) if ids else {}
    return _changes(json.loads(text) for _, text in read.values())  # half a surrogate pair, too


@dataclass(frozen=True, slots=True)
class ChangePosition:
    """How far the changes of one resource type were read. Opaque to others, who keep its `text`.

    All times are Medplum's, in ms since 1970. It holds one line for each version of an overlap, of two at most while a
    walk is at work: 100 writes a second and two minutes are about 0.7 MB.
    """

    low: int
    """Nothing older is read again: the present walk began here."""
    head: int
    """The next page begins here, with this instant."""
    overlap: int
    newest: int | None = None
    """The newest instant when a walk of more than a page began; None: none is at work."""
    settled: int | None = None
    """The same of the last walk that came to its end; None: none has."""
    late: int = 0
    """The largest lateness seen: by so much a version was older than what had been read when it was not visible."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """Version → instant of those told that may be read again."""

    @property
    def text(self) -> str:
        return orjson.dumps(self).decode()

    @staticmethod
    def of(text: str) -> ChangePosition:
        """Raises PositionUnreadable."""
        try:
            return ChangePosition(**orjson.loads(text))
        except (TypeError, ValueError):
            raise PositionUnreadable(
                "A kept position in Medplum's changes cannot be read.", "Sweep, then begin from a known instant."
            ) from None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some changes, oldest first, and the position after them. `more`: the walk has not come to its end."""

    changes: Sequence[Change]
    position: ChangePosition
    more: bool


def begin(instant: str, overlap_seconds: int = LEAST_OVERLAP_SECONDS) -> ChangePosition:
    """Before all changes since an instant that Medplum told (the `lastUpdated` of a write, say), less an overlap.

    Raises OptionError for an overlap below two minutes, or for what is no instant.
    """
    if overlap_seconds < LEAST_OVERLAP_SECONDS:
        raise OptionError(
            f"An overlap of {overlap_seconds} s loses changes.", f"Take {LEAST_OVERLAP_SECONDS} s or more."
        )
    try:
        low = milliseconds(instant) - overlap_seconds * 1_000
    except ValueError:
        raise OptionError("The start of the changes is no instant.", "Take a lastUpdated of Medplum's.") from None
    return ChangePosition(low, low, overlap_seconds * 1_000)


def next_page(
    client: MedplumClient, resource_type: str, position: ChangePosition, fields: str = "", size: int = PAGE
) -> ChangePage:
    """The changes that follow a position, at most `size` (20 to 1,000); `fields` trims them ("id,identifier,meta").

    Each version is told once; which versions a resource had between two looks is not. Keep the position with what was
    done about the page, in one transaction. Raises NoVerdict where a page is full of resources of one moment.
    """
    found = _read(client, resource_type, _since(position, fields, size))
    if len(found) >= size and position.newest is None:
        newest = _read(client, resource_type, [("_sort", "-_lastUpdated"), ("_count", "1"), ("_fields", "id,meta")])
        position = replace(position, newest=max(position.settled or 0, *(one.at for one in newest), 0))
        found = _read(client, resource_type, _since(position, fields, size))  # what is older is complete only now
    return _taken(position, found, full=len(found) >= size)


def milliseconds(instant: str) -> int:
    """An instant as FHIR writes it, in ms since 1970. Raises ValueError."""
    moment = datetime.fromisoformat(instant)
    if moment.tzinfo is None:
        raise ValueError("an instant has a zone")
    return (moment - _EPOCH) // _MILLISECOND


def instant_of(milliseconds_: int) -> str:
    """The instant of so many ms since 1970, as Medplum writes it."""
    return (_EPOCH + milliseconds_ * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _since(position: ChangePosition, fields: str, size: int) -> list[tuple[str, str]]:
    trimmed = [("_fields", fields)] if fields else []
    since = ("_lastUpdated", f"ge{instant_of(position.head)}")
    return [since, ("_sort", "_lastUpdated"), ("_count", str(size)), *trimmed]


def _read(client: MedplumClient, resource_type: str, form: Sequence[tuple[str, str]]) -> list[Change]:
    page = client.search(resource_type, form)
    return _changes(entry["resource"] for entry in page.get("entry", []))


def _changes(resources: Iterable[Resource]) -> list[Change]:
    try:
        return [Change.of(one) for one in resources]
    except (KeyError, TypeError, ValueError):
        raise MedplumUnavailable(
            "Medplum's answer to a search has a resource without its version.", "Check what stands in between."
        ) from None


def _taken(position: ChangePosition, found: Sequence[Change], full: bool) -> ChangePage:
    """What a page adds to a position: pure."""
    last = max((one.at for one in found), default=position.head)
    if full and last == position.head:
        raise NoVerdict("More resources than a page holds are of one moment.", "Write one of them again.")
    fresh = [one for one in found if one.version_id not in position.seen]
    known = position.settled
    late = max([position.late, *(known - one.at for one in fresh if known is not None)])
    seen = {**position.seen, **{one.version_id: one.at for one in fresh}}
    newest = position.newest if position.newest is not None else max(position.settled or 0, last if found else 0)
    low = max(position.low, newest - position.overlap)
    # A walk that writers outrun ends an overlap behind where it began, so that what it remembers stays bounded.
    more = full and last < newest + position.overlap
    if more:
        again = min(last, low)
        after = replace(position, head=last, newest=newest, late=late, seen=_since_then(seen, again))
        return ChangePage(fresh, after, more=True)
    settled = newest or position.settled
    overlap = max(position.overlap, _LATENESS_COVERED * late)
    return ChangePage(fresh, ChangePosition(low, low, overlap, None, settled, late, _since_then(seen, low)), more=full)


def _since_then(seen: Mapping[str, int], instant: int) -> dict[str, int]:
    return {version: at for version, at in seen.items() if at >= instant}
