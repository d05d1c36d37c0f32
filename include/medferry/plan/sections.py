"""The planning questions as sections of the plan: when, who, which data, how long a freeze, which tools, training.

No row becomes anything else by them (`plan.rows`), so they may be answered while a load is at work. What is left out is
open: it hinders no load, and blocks the cutover by its name (`plan.questions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Self

from pendulum import Timezone
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, WithJsonSchema, model_validator

from medferry.plan.authority import Name, UnitId
from medferry.plan.people import Approval, FourEyes, Stakeholder, Text, faults_of

EVERYTHING = "all"
"""The one wave of a plan that has none."""

Sentence = Annotated[str, Field(min_length=8, max_length=1_000)]

_WALL_TIME = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2})?$"}
WallTime = Annotated[NaiveDatetime, WithJsonSchema(_WALL_TIME)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def zone_named(value: str) -> Timezone:
    """An IANA time zone. Raises ValueError."""
    try:
        return Timezone(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{value} is no IANA time zone such as America/New_York") from error


class Window(_Part):
    """When a wave may be flipped, as wall times of the timeline's zone, and after which waves."""

    opens: WallTime
    closes: WallTime
    after: list[Name] | None = None
    """Waves that must have been flipped before; left out: all that stand before it in the plan."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.closes <= self.opens:
            raise ValueError(f"the window closes at {self.closes}, before it opens at {self.opens}")
        return self


class Timeline(_Part):
    """The first question: when does each wave cut over, and in which order."""

    zone: str
    waves: Annotated[dict[Name, Window], Field(min_length=1)]

    @model_validator(mode="after")
    def _wall_times_are_one_instant(self) -> Self:
        zone = zone_named(self.zone)
        for name, window in self.waves.items():
            for time in (window.opens, window.closes):
                if len({time.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}) > 1:
                    problem = f"{time} of wave {name} is skipped or comes twice in {self.zone}, when its clocks change"
                    raise ValueError(f"{problem}: choose another time")
        return self

    def window_of(self, wave: str) -> tuple[datetime, datetime] | None:
        """[opens, closes) of a wave in UTC; None: it has none."""
        if wave not in self.waves:
            return None
        zone, window = zone_named(self.zone), self.waves[wave]
        opens, closes = (time.replace(tzinfo=zone).astimezone(UTC) for time in (window.opens, window.closes))
        return opens, closes


class DataRequired(_Part):
    """The third question: what moves, how far back, and what is left behind."""

    domains: Annotated[dict[Name, Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)]
    """Domain → the entities of the migration that it consists of."""
    history: Sentence
    excluded: dict[Text, Sentence]
    """What is left behind → why; `{}`: nothing is."""


class Downtime(_Part):
    """The fourth question: for how long nobody may be able to write a unit while it is flipped."""

    longest_freeze_minutes: Annotated[float, Field(gt=0, le=1_440)]
    units: dict[UnitId, Annotated[float, Field(gt=0, le=1_440)]] = {}
    """Minutes of single units, where those are others."""

    def seconds_of(self, units: Sequence[str]) -> float:
        """The longest freeze, in seconds, that all of some units bear."""
        return 60 * min((self.units.get(unit, self.longest_freeze_minutes) for unit in units), default=0.0)


class _Ticked(_Part):
    waves: list[Name] = []
    """Whose cutover waits for it; none named: every wave's."""
    done: date | None = None
    """The day on which it was done."""

    def concerns(self, wave: str) -> bool:
        return not self.waves or wave in self.waves

    def is_done(self, today: date) -> bool:
        return self.done is not None and self.done <= today


class ToolChange(_Ticked):
    """The fifth question: a tool, device, interface or form that changes; the legacy application is one."""

    tool: Text
    becomes: Sentence


class Training(_Ticked):
    """The sixth question: who learns what, and by when."""

    who: Text
    what: Text
    by: date


class WayBack(_Part):
    """How long a flipped unit can return to the legacy system, and what makes it return."""

    window_days: Annotated[int, Field(ge=1, le=365)]
    triggers: Annotated[list[Sentence], Field(min_length=1)]


class LegacyWriter(_Part):
    """Who may be seen writing in the legacy database: a line of the census, accepted by name.

    `who` is the database's account, `application` what it calls itself; `*` stands for any text within them. Where the
    engine knows no accounts (SQLite), `who` is empty.
    """

    who: str
    application: str = ""
    what: Text
    accepted_by: Text

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.who and not self.who.strip("*? "):
            raise ValueError("a writer must be named: `*` alone would accept everybody")
        return self

    def is_of(self, who: str, application: str) -> bool:
        return fnmatchcase(who, self.who) and fnmatchcase(application, self.application)


class ReadinessLimits(_Part):
    """What must hold before a cutover; the defaults are what a freeze of a minute needs."""

    lag_p99_seconds: Annotated[float, Field(gt=0)] = 60.0
    """From a change in the legacy database until it is settled, of 99 in a hundred changes."""
    open_transaction_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Age of the oldest open transaction of the legacy database: the freeze waits for it."""
    rehearsal_days: Annotated[int, Field(ge=1)] = 14
    """A rehearsal that is older says nothing about now."""
    sweep_days: Annotated[int, Field(ge=1)] = 3
    """So is a complete sweep."""
    verified_days: Annotated[int, Field(ge=1)] = 7
    """And a verification."""
    changed_records: Annotated[int, Field(ge=0)] = 1_000
    """So many may have changed since it: they are read again during the freeze."""


class SideEffect(StrEnum):
    """What becomes of a Subscription that what Medferry writes would fire."""

    LEAVE = "leave"
    """It fires."""
    NARROW = "narrow"
    """Its criteria leave out what carries the migration's tag."""
    DISABLE = "disable"
    """It is off from before the first load until it is restored."""


class SideEffectDecision(_Part):
    """What somebody has decided about a Subscription."""

    decision: SideEffect
    accepted_by: Text
    reason: Sentence


SubscriptionPlace = Annotated[str, Field(pattern=r"^Subscription/[A-Za-z0-9.-]{1,64}$")]


class Organisation(_Part):
    """Sizes that no database tells."""

    users: Annotated[int, Field(ge=0)] | None = None
    """People who work with the legacy system."""
    integrations: Annotated[int, Field(ge=0)] | None = None
    """Systems that exchange data with it."""


class RiskOfBigBang(_Part):
    """Somebody answers for moving a large organisation at once."""

    accepted_by: Text
    reason: Sentence


class Sections(_Part):
    """The sections of a plan that are for people, and for its cutovers."""

    timeline: Timeline | None = None
    stakeholders: list[Stakeholder] = []
    four_eyes: FourEyes | None = None
    data_required: DataRequired | None = None
    downtime: Downtime | None = None
    tools: list[ToolChange] = []
    training: list[Training] = []
    rollback: WayBack | None = None
    readiness: ReadinessLimits = ReadinessLimits()
    legacy_writers: list[LegacyWriter] = []
    side_effects: dict[SubscriptionPlace, SideEffectDecision] = {}
    """By Subscription, each that would fire (`medferry side-effects`)."""
    organisation: Organisation = Organisation()
    big_bang: RiskOfBigBang | None = None

    def approvers(self, of: Approval) -> list[Stakeholder]:
        return [person for person in self.stakeholders if of in person.approves]

    def needs_two(self, act: Approval) -> bool:
        return self.four_eyes is not None and act in self.four_eyes.acts

    def before(self, wave: str, waves: Sequence[str]) -> list[str]:
        """The waves that must have been flipped before one, by the timeline, else by the plan's order of `waves`."""
        window = self.timeline.waves.get(wave) if self.timeline else None
        if window is not None and window.after is not None:
            return window.after
        return list(waves[: waves.index(wave)])

    def stray_names(self, waves: Sequence[str], units: Sequence[str]) -> Iterator[str]:
        """What is wrong with the waves and units that the sections name, in words."""
        windows = self.timeline.waves if self.timeline else {}
        named = {"timeline": [*windows, *(name for window in windows.values() for name in window.after or [])]}
        named |= {"tools": [name for tool in self.tools for name in tool.waves]}
        named |= {"training": [name for training in self.training for name in training.waves]}
        for section, names in named.items():
            yield from (f"{section} names the unknown wave {name}" for name in sorted({*names} - {*waves}))
        for unit in sorted({*(self.downtime.units if self.downtime else {})} - {*units}):
            yield f"downtime names the unknown unit {unit}"
        yield from faults_of(self.stakeholders, self.four_eyes)
        try:
            if {*windows} <= {*waves}:
                TopologicalSorter({wave: self.before(wave, waves) for wave in waves}).prepare()
        except CycleError as cycle:
            yield f"timeline: these waves wait for each other: {', '.join(cycle.args[1])}"


NAMES = frozenset(Sections.model_fields)
"""Of the sections."""
