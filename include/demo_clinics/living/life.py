"""The clinic lives: at the given rate somebody does something, in one of the two systems, by a seed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import httpx
import sqlalchemy as sa

from demo_clinics.living import legacy_users, medplum_users
from demo_clinics.living.diary import Diary, Side
from demo_clinics.living.legacy_users import Desk, Ward
from demo_clinics.living.medplum_users import NotThere, Overtaken, Seat

_SLOW, _UNDONE = 0.1, 0.08
"""Shares of the legacy transactions that take long, and that are rolled back."""


@dataclass(slots=True)
class Life:
    """`medplum_share`: of all acts, those that are done in Medplum. `slow_seconds`: of a slow transaction, at most."""

    engine: sa.Engine
    client: httpx.Client
    ward: Ward
    diary: Diary
    seed: int
    rate: float
    medplum_share: float = 0.3
    slow_seconds: float = 2.0
    only_owned: bool = False
    """Whether those at Medplum change nothing but what the mapping owns."""
    faults: list[BaseException] = field(default_factory=list)
    """Acts that failed as none may."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def live(self, seconds: float) -> None:
        """Acts at irregular intervals for so many seconds; returns when the last has ended."""
        chance = Random(self.seed)
        due = started = time.monotonic()
        with ThreadPoolExecutor(min(8 + round(self.rate / 2), 48), thread_name_prefix="user") as people:
            while due - started < seconds and not self._stop.is_set():
                time.sleep(max(due - time.monotonic(), 0))
                people.submit(self._act, Random(chance.random())).add_done_callback(self._ended)
                due += chance.expovariate(self.rate)

    def stop(self) -> None:
        self._stop.set()

    def _act(self, chance: Random) -> None:
        if chance.random() < self.medplum_share:
            self._at_medplum(chance)
        else:
            self._at_legacy(chance)

    def _acts_at_medplum(self) -> Iterator[tuple[str, tuple[medplum_users.Act, str, int]]]:
        """Nobody creates anything there that would never reach the legacy system."""
        for name, (act, entity, weight) in medplum_users.ACTS.items():
            owned = name in medplum_users.OWNED or not self.only_owned
            if owned and (entity or self.diary.both_ways):
                yield name, (act, entity, weight)

    def _ended(self, act: Future[None]) -> None:
        if fault := act.exception():
            self.faults.append(fault)

    def _at_legacy(self, chance: Random) -> None:
        act, entity, name = _chosen(chance, legacy_users.ACTS)
        key = self.ward.pick(chance, entity) if entity else ""
        with self.diary.working_on((entity, key or str(id(chance)))) as free:
            if not free:
                return
            with self.engine.connect() as connection:
                record, facts = act(Desk(connection, self.ward, chance), key)
                if chance.random() < _SLOW:
                    time.sleep(chance.uniform(0.3, 1.0) * self.slow_seconds)
                if chance.random() < _UNDONE:
                    connection.rollback()
                    self.diary.note_undone(Side.LEGACY)
                    return
                connection.commit()
            self.diary.note(Side.LEGACY, name, record, facts, time.time(), born=not entity)
        if not entity:
            self.ward.born(record)

    def _at_medplum(self, chance: Random) -> None:
        act, entity, name = _chosen(chance, dict(self._acts_at_medplum()))
        if not entity:
            try:
                (of, medplum_id), facts = act(Seat(self.client, self.ward, chance), "")
            except NotThere:
                return
            self.diary.note_birth(name, of, medplum_id, facts, time.time())
            return
        key = self.ward.pick(chance, entity)
        with self.diary.working_on((f"{entity} in Medplum", key)) as free:
            if not free:
                return
            try:
                record, facts = act(Seat(self.client, self.ward, chance), key)
            except (NotThere, Overtaken):
                return
            self.diary.note(Side.MEDPLUM, name, record, facts, time.time())


A = TypeVar("A")


def _chosen(chance: Random, acts: Mapping[str, tuple[A, str, int]]) -> tuple[A, str, str]:
    (name,) = chance.choices(list(acts), [weight for _, _, weight in acts.values()])
    return acts[name][0], acts[name][1], name
