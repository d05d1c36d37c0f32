"""`python -m demo_clinics live`: both systems in use at once, with what arrives where and when."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from demo_clinics.living import show
from demo_clinics.living.diary import Diary, Side
from demo_clinics.living.facts import (
    READINGS,
    Facts,
    Record,
    names_of,
    of_legacy,
    of_medplum,
    record_of,
    resources_of,
)
from demo_clinics.living.legacy_users import Ward
from demo_clinics.living.life import Life
from demo_clinics.living.systems import CLINIC, Systems, systems
from demo_clinics.living.verdict import Shown, Verdict, faults_of_births, judge
from demo_clinics.living.watch import Watch
from medferry.errors import MedferryError
from medferry.workflows.sync import Way

_LULL_SECONDS = 3.0
_QUIET_SECONDS = 6.0
"""In which nothing has arrived: then nothing more will by itself."""
_MOST_QUIESCING = 120.0
_DRAW_SECONDS = 0.5

console = Console(width=None if sys.stdout.isatty() else 132, emoji=False)
Draw = Callable[[float, str], None]


def main(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long the clinic lives.")] = 2.0,
    rate: Annotated[float, typer.Option(min=0.1, help="Acts a second, in both systems together.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of the data and of what is done.")] = 1,
    patients: Annotated[int, typer.Option(min=10, help="How many patients to make up.")] = 200,
    both_ways: Annotated[
        bool, typer.Option("--both-ways/--one-way", help="Whether what Medplum's people write comes back.")
    ] = True,
) -> None:
    """People work in the legacy system and in Medplum at once while Medferry keeps them in step; was anything lost?"""
    with tempfile.TemporaryDirectory(prefix="living-clinic-") as place:
        try:
            verdict = live(Path(place), minutes * 60, rate, seed, patients, Way.BOTH if both_ways else Way.FORTH)
        except MedferryError as error:
            console.print(f"[bold red]{type(error).__name__}[/]: {error}", soft_wrap=True)
            raise typer.Exit(1) from None
    raise typer.Exit(0 if verdict.is_good else 1)


def live(folder: Path, seconds: float, rate: float, seed: int, patients: int, way: Way = Way.BOTH) -> Verdict:
    """The whole of it, told on the console. Raises MedferryError, and what an act raised that must not."""
    with console.status("starting") as status, systems(folder, seed, patients, status.update, way) as found:
        status.stop()
        return live_in(found, seconds, rate, seed)


def live_in(found: Systems, seconds: float, rate: float, seed: int) -> Verdict:
    """The life in systems that are up and in step."""
    diary = Diary(both_ways=found.way is Way.BOTH)
    life = Life(found.engine, found.client, Ward.of(found.engine, CLINIC), diary, seed, rate)
    watch = Watch(found.engine, found.client, CLINIC, diary, life.ward.born)
    before = _legacy(found).keys()
    _live(found, life, watch, seconds)
    console.print(show.acts(diary))
    verdict = verdict_of(found, diary, before)
    for line in show.told(verdict):
        console.print(line, soft_wrap=True)
    return verdict


def _live(found: Systems, life: Life, watch: Watch, seconds: float) -> None:
    started, diary = time.monotonic(), life.diary
    with Live(console=console, refresh_per_second=4) as screen:

        def draw(doing: str) -> None:
            elapsed = min(time.monotonic() - started, seconds)
            screen.update(show.progress(diary, elapsed, seconds, len(found.undecided()), doing))

        with found.tailing(seconds + _MOST_QUIESCING + 60), watch.looking():
            people = threading.Thread(target=life.live, args=(seconds,), daemon=True)
            people.start()
            try:
                while people.is_alive():
                    found.check()
                    draw("The clinic lives")
                    people.join(_DRAW_SECONDS)
            finally:
                life.stop()
                people.join()
            quiesce(watch, lambda: draw("Everybody has gone home"))
        if life.faults:
            raise life.faults[0]


def quiesce(watch: Watch, draw: Callable[[], None]) -> None:
    """Wait until everything has arrived, or nothing more does."""
    diary = watch.diary
    last = changed = time.monotonic()
    arrived = -1
    while (diary.unborn or any(diary.pending(side) for side in Side)) and last - changed < _QUIET_SECONDS:
        time.sleep(_DRAW_SECONDS)
        draw()
        last = time.monotonic()
        if (now := sum(map(len, diary.lags.values()))) != arrived:
            arrived, changed = now, last
        elif last - changed > _LULL_SECONDS:
            watch.look_at_all()


def verdict_of(found: Systems, diary: Diary, known: Collection[Record]) -> Verdict:
    """What was killed is finished, then both systems are read; what changes by itself after that is an echo.

    `known`: the records that the legacy system had before anybody came.
    """
    found.settle()
    legacy, medplum, shown = _legacy(found), of_medplum(found.client), _shown(found)
    for one in shown:
        for name in one.names[:1]:
            diary.saw_born(one.id, record_of(name))
    verdict = judge(diary, legacy, medplum, found.undecided())
    verdict.lost += faults_of_births(diary, legacy, known, shown)
    found.settle()
    versions = {one.id: one.version for one in shown}
    verdict.echoes = sum(versions.get(one.id) != one.version for one in _shown(found))
    verdict.echoes += sum(legacy.get(record) != facts for record, facts in _legacy(found).items())
    return verdict


def _legacy(found: Systems) -> dict[Record, Facts]:
    legacy: dict[Record, Facts] = {}
    with found.engine.connect() as connection:
        for entity in READINGS:
            legacy |= of_legacy(connection, CLINIC, entity)
    return legacy


def _shown(found: Systems) -> list[Shown]:
    types = {reading.type for reading in READINGS.values()}
    return [
        Shown(one["id"], one["meta"]["versionId"], tuple(names_of(one)))
        for kind in sorted(types)
        for one in resources_of(found.client, kind, _fields="id,meta,identifier")
    ]
