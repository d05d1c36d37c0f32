"""One simulated world: a legacy database, a manifest and a staging area in memory, a Medplum, and a process at a time.

Made once by the program itself (load, capture, sweep), then copied for each simulation.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from medferry.definition.migration import Migration, load_migration
from medferry.manifest.database import open_manifest
from medferry.mapping import new_rows
from medferry.medplum import requests
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from medferry.source.births import BORN
from medferry.source.changes.engines import install
from medferry.stages import load as load_stage
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave, synced_wave
from tests import tiny_platform
from tests.simulator import clock as time_of
from tests.simulator.acts import Acts, Killed, Watch
from tests.simulator.clock import clock, instant
from tests.simulator.http import Wire
from tests.simulator.legacy import PERSON, PROGRAM, remember
from tests.simulator.medplum import Medplum
from tests.sync.conftest import CAPTURE, FREE, load, written_back

WAVE, SETTLE_SECONDS = "pilot", 60.0
FIRST_BORN = 1_000_000
"""The key of the first row that was born in Medplum."""
_LEAVES = """
DELETE FROM weight WHERE id NOT IN (0, 1);
DELETE FROM patient WHERE id NOT IN (1, 2);
CREATE UNIQUE INDEX one_patient ON patient (id);
CREATE UNIQUE INDEX one_weight ON weight (id);
"""


class AtOnce(Executor):
    """Does what it is given at once, in the thread of who gives it: every simulation goes one way only."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 -- it is for whoever asks for the result
            done.set_exception(error)
        return done


@dataclass(frozen=True)
class Template:
    """What a world begins as."""

    files: Path
    medplum: Medplum
    migration: Migration


@dataclass
class World:
    """`legacy` is the connection of the legacy system's users."""

    settings: Settings
    migration: Migration
    watch: Watch
    wire: Wire
    legacy: Any

    @property
    def medplum(self) -> Medplum:
        return self.wire.medplum

    @contextmanager
    def process(self, acts: Acts) -> Iterator[SyncedWave]:
        """A process of the program: what it keeps in memory is its own. Its death and its errors are told outside."""
        environment = Environment(self.migration, self.settings)
        self.watch.acts = acts
        try:
            yield synced_wave(environment, WAVE)
        finally:
            self.watch.acts = Acts()
            for name in ("source", "capture", "legacy_writer"):
                if name in vars(environment):
                    getattr(environment, name).dispose()

    def close(self) -> None:
        self.legacy.close()
        open_manifest(self.settings.manifest_url).dispose()


def settings_in(folder: Path, legacy_url: str = "") -> Settings:
    legacy = legacy_url or f"sqlite:///{folder}/legacy.db"
    return Settings(
        source_url=legacy,
        legacy_writer_url=legacy,
        medplum_base_url="http://127.0.0.1:8103/",
        medplum_client_id="medferry",
        medplum_client_secret="secret",
        manifest_url=f"sqlite:///{folder}/manifest.db",
        staging_url=f"{folder}/staging",
        settle_seconds=SETTLE_SECONDS,
    )


@cache
def watch() -> Watch:
    """That of this process, whose clocks and threads are simulated from now on."""
    time_of.begin_dates()
    load_stage.ThreadPoolExecutor = AtOnce  # type: ignore[misc, assignment]
    sa.event.listen(sa.pool.Pool, "connect", _taught)
    return Watch()


def template(folder: Path) -> Template:
    """Make the world that all others are copied from."""
    files = folder / "template"
    files.mkdir()
    medplum = Medplum(lambda: clock.tick() + clock.medplum, instant)
    settings = settings_in(files)
    fill_sqlite(files)
    clock.set(1_767_225_600.0)
    return Template(files, medplum, in_step(folder, settings, Wire(medplum, watch())))


def fill_sqlite(folder: Path) -> None:
    """The tiny platform with two patients and a weight of each, whose tables remember."""
    tiny_platform.fill(f"sqlite:///{folder}/legacy.db")
    with sqlite3.connect(folder / "legacy.db") as legacy:
        legacy.executescript(f"PRAGMA journal_mode = WAL; {_LEAVES}")
        remember(legacy)
    legacy.close()


def in_step(folder: Path, settings: Settings, wire: Wire) -> Migration:
    """Load the tiny platform, with the journal of its changes, and sweep it; patients are written on both sides."""
    _answer_by(wire)
    files = shutil.copytree(tiny_platform.MIGRATION, folder / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    (files / "capture.yaml").write_text(CAPTURE)
    environment = written_back(Environment(load_migration(files), settings), WAVE).environment
    environment = replace(environment, migration=with_births(environment.migration))
    load(environment, None)
    wave = synced_wave(environment, WAVE)
    install(environment.capture, wave.journal)
    sweep_wave(wave, FREE)
    for engine in (environment.source, environment.capture, environment.manifest):
        engine.dispose()
    return environment.migration


def with_births(migration: Migration) -> Migration:
    """What is created in Medplum gets a row, with a key that no other row ever had."""
    born = new_rows(
        unit="unit", key=f"(SELECT {FIRST_BORN} + count(*) FROM {BORN})", unit_of={"clinic": {"1": "north"}}
    )
    patient = replace(migration.inverses["patient"], births=born)
    return replace(migration, inverses={**migration.inverses, "patient": patient})


def world(of: Template, folder: Path) -> World:
    """A copy, in the place of the one before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(of.files, folder)
    medplum = of.medplum.copied()
    assert medplum is not None
    wire = Wire(medplum, watch())
    _answer_by(wire)
    return World(settings_in(folder), of.migration, watch(), wire, sqlite_users(folder))


def sqlite_users(folder: Path) -> sqlite3.Connection:
    """The connection of the users of a legacy database in SQLite."""
    legacy = sqlite3.connect(folder / "legacy.db", isolation_level=None, timeout=0)
    time_of.teach(legacy, lambda: clock.legacy)
    legacy.create_function("who", 0, lambda: PERSON)
    return legacy


def _answer_by(wire: Wire) -> None:
    def open_http(base_url: str, _: object) -> httpx.Client:
        return httpx.Client(base_url=base_url, transport=wire)

    requests.open_http = open_http


def _taught(connection: Any, _record: Any) -> None:
    """Each database has its machine's clock; a server has the real one."""
    if not isinstance(connection, sqlite3.Connection):
        return
    [(_, _, file)] = connection.execute("PRAGMA database_list").fetchall()[:1]
    connection.create_function("who", 0, lambda: PROGRAM)
    time_of.teach(connection, lambda: clock.legacy if str(file).endswith("legacy.db") else clock.program)


__all__ = ["Acts", "Killed", "World", "template", "world"]
