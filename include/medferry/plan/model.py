"""The plan's shape. Every field is checked when the file is read, before anything is written."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    field_validator,
    model_validator,
)

from medferry.plan.authority import AuthorityMatrix, Name, UnitId, Writer
from medferry.plan.retention import Retention
from medferry.plan.sections import EVERYTHING, Sections, zone_named

Column = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}\.[^.\s]+$")]


class Strategy(StrEnum):
    """How the organisation moves."""

    BIG_BANG = "big_bang"
    PARALLEL = "parallel"
    PHASED = "phased"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """The legacy database. `connection` is an Airflow connection id; the command line reads MEDFERRY_SOURCE_URL."""

    connection: str
    time_zone: str
    """Of wall times that say no zone. There is no default: a wrong one would move every time in silence."""
    null_tokens: frozenset[str] = frozenset()
    """Texts that stand for no value in every column. None by itself: NULL is a surname, and `-` a result."""
    column_null_tokens: dict[Column, frozenset[str]] = {}
    """The same of one column alone, by ``entity.column``."""
    sentinel_dates: frozenset[str] = frozenset()
    """Dates that stand for no value, as YYYY-MM-DD; of a time its date counts. None by itself: each may be meant."""

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        zone_named(value)
        return value


class Unit(_Part):
    """A business unit. A `shared` one holds what belongs to no single unit and goes with every wave."""

    id: UnitId
    title: str = ""
    shared: bool = False


class Sync(_Part):
    """A wave in parallel state: how often Airflow takes its changes, and for how long each run follows them."""

    schedule: Annotated[str, Field(pattern=r"^(@(hourly|daily|weekly|monthly)|\S+( \S+){4})$")]
    """A cron expression of five fields, in UTC."""
    since: date
    """The first data interval begins on this day."""
    tail_seconds: Annotated[int, Field(ge=0)] = 0
    """A run cuts every second or two for so long, until the next takes over at most. 0: it takes one cut."""
    max_lag_seconds: Annotated[int, Field(ge=1)] | None = None
    """A run that is not over so long after its tail misses its deadline: Airflow tells of it."""
    reverse: bool = False
    """Whether what users change in Medplum is written back into the legacy database."""


class Every(StrEnum):
    """How long the periods are by which a wave is loaded."""

    MONTH = "month"
    YEAR = "year"


class History(_Part):
    """A wave that is loaded by periods of its records' dates, the newest first."""

    every: Every
    since: Annotated[date, Field(alias="from")]
    """The first period begins on this day; it takes what is older, too, and what has no date."""

    @model_validator(mode="after")
    def _begins_a_period(self) -> Self:
        if self.since.day != 1 or (self.every is Every.YEAR and self.since.month != 1):
            raise ValueError(f"from must be the first day of a {self.every}")
        return self


class Wave(_Part):
    """Units that cut over together, in the order of the file."""

    id: Name
    title: str = ""
    units: Annotated[list[UnitId], Field(min_length=1)]
    sync: Sync | None = None
    """Given while both systems are in use."""
    history: History | None = None
    """Given where the wave is too large for one run."""


class LeftoverPolicy(StrEnum):
    """What becomes of a resource that the plan, or its row, does not make any more."""

    REPORT = "report"
    """It is a difference, by name."""
    KEEP = "keep"
    """It stays: accepted, and counted in the result."""
    REMOVE = "remove"
    """It is a difference until a person lets `medferry leftovers --apply` delete it."""
    INACTIVATE = "inactivate"
    """It is a difference until that act has said so of it, in the element which FHIR has for it."""


class DeletedPolicy(StrEnum):
    """What becomes of a row whose resource a user has deleted in Medplum."""

    REPORT = "report"
    """It stays, and is told by name."""
    REMOVE = "remove"
    """It is deleted from the tables of the inverse."""
    INACTIVATE = "inactivate"
    """It is marked as removed, in the column that the inverse's own table has for it."""


Share = Annotated[float, Field(ge=0, le=1)]


class Limits(_Part):
    """Limits of an entity or a unit that are not those of the whole."""

    max_rejected_share: Share | None = None
    max_quarantined_share: Share | None = None
    max_skipped_share: Share | None = None


class Acceptance(_Part):
    """Shares of the eligible source records above which a verification fails: of the whole, each entity, each unit.

    Of no unit may all records of an entity be set aside (rejected, quarantined or skipped), whatever the shares.
    """

    max_rejected_share: Share = 0.0
    max_quarantined_share: Share = 0.0
    max_skipped_share: Share = 1.0
    entities: dict[Name, Limits] = {}
    units: dict[UnitId, Limits] = {}
    small_group: Annotated[int, Field(ge=1)] = 1
    """Fewer records of an entity in a unit may all be set aside: one of one says nothing."""
    may_be_set_aside: frozenset[str] = frozenset()
    """``<unit>/<entity>``: all of these may be, by name."""
    may_be_empty: frozenset[Name] = frozenset()
    """Entities of which the legacy database need not have a row."""
    min_compared_share: Share = 0.0
    """Of the leaf values of each entity in Medplum so much must be compared, by value or by rule: not by hash alone."""
    hashes_only: dict[Name, Annotated[str, Field(min_length=8)]] = {}
    """Entity → why it is accepted that none of its values is compared with the legacy database."""


class Plan(_Part, Sections):
    """One migration: what moves, from where, in which order, and when it counts as good."""

    name: Name
    title: str
    strategy: Strategy
    identifier_base: HttpUrl
    source: Source
    units: Annotated[list[Unit], Field(min_length=1)]
    waves: list[Wave] = []
    case_sensitive_codes: list[str] = []
    """Code tables in which `m` and `M` are two codes; one that holds both needs no mention."""
    acceptance: Acceptance = Acceptance()
    leftovers: LeftoverPolicy = LeftoverPolicy.REPORT
    entity_leftovers: dict[Name, LeftoverPolicy] = {}
    """Entity, also one that the migration has no more → what becomes of its leftovers, where that is another policy."""
    deleted_in_medplum: dict[Name, DeletedPolicy] = {}
    """Entity → what becomes of its rows whose resources are deleted in Medplum; of what is not named: report."""
    retention: Retention = Retention()
    authority: AuthorityMatrix = AuthorityMatrix()
    answers: dict[str, str] = {}
    """The planning questions and the organisation's answers, in its own words; shown in the reports."""

    @field_validator("identifier_base")
    @classmethod
    def _base_can_be_searched(cls, value: HttpUrl) -> HttpUrl:
        if "|" in str(value):
            raise ValueError("must hold no |: Medplum's searches end a system at its first bar, and find nothing")
        return value

    @model_validator(mode="after")
    def _waves_fit_units(self) -> Self:
        known = [unit.id for unit in self.units]
        if len(set(known)) != len(known):
            raise ValueError("a unit id stands twice")
        seen: set[str] = set()
        for wave in self.waves:
            for unit in wave.units:
                if unit not in known:
                    raise ValueError(f"wave {wave.id} names the unknown unit {unit}")
                if unit in seen:
                    raise ValueError(f"unit {unit} is in two waves")
                if unit in self.shared_units:
                    raise ValueError(f"unit {unit} is shared: it goes with every wave and is named in none")
                seen.add(unit)
        if len({wave.id for wave in self.waves}) != len(self.waves):
            raise ValueError("a wave id stands twice")
        return self

    @model_validator(mode="after")
    def _parts_fit_units(self) -> Self:
        groups = {name.partition("/")[0] for name in self.acceptance.may_be_set_aside}
        unknown = sorted({*self.acceptance.units, *groups} - {*self.unit_ids})
        if unknown:
            raise ValueError(f"acceptance names the unknown unit {unknown[0]}")
        ruled = {unit for rule in self.authority.rules for unit in rule.units}
        if strays := sorted(ruled - {*self.unit_ids}):
            raise ValueError(f"authority names the unknown unit {strays[0]}")
        return self

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        waves = [wave.id for wave in self.waves] or [EVERYTHING]
        if faults := list(self.stray_names(waves, self.unit_ids)):
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _way_back_has_something_to_write(self) -> Self:
        back = [wave.id for wave in self.waves if wave.sync is not None and wave.sync.reverse]
        if back and all(rule.writer is Writer.LEGACY for rule in self.authority.rules):
            problem = "is to be written back (sync.reverse), and authority gives Medplum's users nothing to write"
            raise ValueError(f"wave {back[0]} {problem}")
        return self

    def deleted_policy(self, entity: str) -> DeletedPolicy:
        """What becomes of a row of an entity whose resource is deleted in Medplum."""
        return self.deleted_in_medplum.get(entity, DeletedPolicy.REPORT)

    def leftovers_of(self, entity: str) -> LeftoverPolicy:
        """What becomes of the leftovers of an entity."""
        return self.entity_leftovers.get(entity, self.leftovers)

    @property
    def shared_units(self) -> list[str]:
        return [unit.id for unit in self.units if unit.shared]

    @property
    def unit_ids(self) -> list[str]:
        return [unit.id for unit in self.units]

    @property
    def units_in_no_wave(self) -> list[str]:
        """Units that never move by waves, where there are any: neither in one, nor shared."""
        moved = {unit for wave in self.waves for unit in wave.units} | {*self.shared_units}
        return [unit for unit in self.unit_ids if unit not in moved] if self.waves else []

    @property
    def base(self) -> str:
        """`identifier_base` without a closing slash."""
        return str(self.identifier_base).rstrip("/")

    def wave(self, wave_id: str) -> Wave:
        """The wave of that id. Raises KeyError when the plan has none."""
        return {wave.id: wave for wave in self.waves}[wave_id]

    def units_of_wave(self, wave_id: str) -> list[str]:
        """The wave's own units and the shared ones, in the plan's order."""
        own = set(self.wave(wave_id).units)
        return [unit.id for unit in self.units if unit.id in own or unit.shared]
