"""The stage of the living clinic: both systems filled and in step, and `medferry sync` at work between them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import sqlalchemy as sa

from demo_clinics import database
from demo_clinics.generate import fill
from demo_clinics.living.facts import Record
from demo_clinics.living.medplum_users import user
from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import load_migration
from medferry.errors import MedferryError
from medferry.manifest.held_back import HeldReason, held_back_of
from medferry.manifest.kinds import RunKind
from medferry.manifest.unit_state import states_of
from medferry.mapping.outcomes import Reason
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry.source.changes.engines import install
from medferry.source.changes.sweep import Throttle
from medferry.stages.prepare import scope_of
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave, synced_wave
from medferry.workflows.migrate import execute_run
from medferry.workflows.sync import Way

WAVE, CLINIC = "pilot", "lakeview"
_QUOTA = 1_000_000_000
_SETTLE_SECONDS = 10.0
_PEOPLE = 64
"""At the legacy system at once, at the most."""
_UNBOUNDED = Throttle(rows_per_second=1e9, latency=60)

Tell = Callable[[str], None]


_UNDECIDED = (HeldReason.CONFLICT, HeldReason.NO_BASE)


class TailEnded(MedferryError):
    """`medferry sync` has ended before its time."""


@dataclass(slots=True)
class Systems:
    """Both systems as their users have them, with an engine and a token of their own, and the wave between them."""

    folder: Path
    settings: Settings
    wave: SyncedWave
    engine: sa.Engine
    client: httpx.Client
    way: Way
    _tail: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """What the tail says."""
        return self.folder / "sync.log"

    @contextmanager
    def tailing(self, seconds: float) -> Iterator[None]:
        """`medferry sync` in a process of its own, until the end of the context: there it is killed, as a crash would.

        Raises TailEnded when it has died before.
        """
        command = [sys.executable, "-m", "medferry", "sync", WAVE, "--migration", "clinics", "--tail", f"{seconds:g}"]
        command += ["--direction", self.way]
        with self.log.open("ab") as log:
            self._tail = subprocess.Popen(
                command, env=os.environ | variables(self.settings), stdout=log, stderr=log, cwd=self.folder
            )
        try:
            yield
            self.check()
        finally:
            self._tail.kill()
            self._tail.wait()

    def check(self) -> None:
        """Raises TailEnded."""
        if self._tail and self._tail.poll() is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise TailEnded(
                f"The synchronisation ended with code {self._tail.returncode}.", f"It said: {' '.join(said)}"
            )

    def settle(self) -> int:
        """Take what is still due, cycle by cycle, until one has nothing; returns the records of it all."""
        records = 0
        while found := self._cycle():
            records += found
        return records

    def _cycle(self) -> int:
        """Records that went forth, and rows that were written back or inserted."""
        forth = cycle(self.wave).records
        if self.way is not Way.BOTH:
            return forth
        back = back_cycle(self.wave)
        return forth + back.written.total() + back.born.total()

    def undecided(self) -> set[Record]:
        """The records of which the manifest says that both sides have changed the same."""
        environment, found = self.wave.environment, set[Record]()
        for entity in environment.migration.entities:
            keys = self.wave.known_keys(entity)
            with environment.manifest.begin() as connection:
                states = states_of(connection, environment.migration.name, entity, keys)
            found |= {(entity, key) for key, state in states.items() if state.reason == Reason.TARGET_CHANGED}
        with environment.manifest.begin() as connection:
            held = held_back_of(connection, environment.migration.name, self.wave.units)
        return found | {(one.entity, one.key) for one in held if one.reason in _UNDECIDED}


@contextmanager
def systems(folder: Path, seed: int, patients: int, tell: Tell, way: Way = Way.BOTH) -> Iterator[Systems]:
    """Bring them up, load the wave, install the journal and sweep once. Every row is clean, so that all must arrive."""
    with ExitStack() as stack:
        tell("starting the legacy database")
        server = stack.enter_context(database.embedded())
        tell("starting the embedded Medplum")
        medplum = stack.enter_context(
            EmbeddedMedplum(data=folder / "medplum.db", quota=_QUOTA, log_file=folder / "medplum.log")
        )
        tell(f"making {patients} patients and their charts")
        engine = sa.create_engine(server.url, pool_size=_PEOPLE)
        stack.callback(engine.dispose)
        fill(engine, seed, patients, pace=0)
        settings = Settings(
            source_url=server.url,
            legacy_writer_url=server.url,
            medplum_base_url=medplum.base_url,
            medplum_client_id=medplum.client_id,
            medplum_client_secret=medplum.client_secret,
            manifest_url=f"sqlite:///{folder / 'manifest.db'}",
            staging_url=str(folder / "staging"),
            settle_seconds=_SETTLE_SECONDS,
        )
        environment = Environment(load_migration("clinics"), settings)
        _load(environment, tell)
        stack.callback(environment.source.dispose)
        stack.callback(environment.manifest.dispose)
        stack.callback(environment.legacy_writer.dispose)
        wave = synced_wave(environment, WAVE)
        tell("installing the journal of changes, and one sweep")
        install(environment.capture, wave.journal)
        sweep_wave(wave, _UNBOUNDED)
        if way is Way.BOTH:
            back_cycle(wave)  # what is created in Medplum before the first cycle is none of the wave's births
        with user(medplum.base_url, medplum.client_id, medplum.client_secret) as client:
            yield Systems(folder, settings, wave, engine, client, way)


def _load(environment: Environment, tell: Tell) -> None:
    migration = environment.migration
    scope = scope_of(migration, migration.plan.units_of_wave(WAVE), None)

    def told(stage: str, entity: str, _done: int, _total: int) -> None:
        tell(f"loading the wave {WAVE}: {stage} {entity}")

    execute_run(environment, f"{WAVE}.first", f"{RunKind.WAVE}_{WAVE}", scope, RunOptions(), told)


def variables(settings: Settings) -> dict[str, str]:
    """The environment of the command line."""
    include = str(Path(__file__).resolve().parents[2])
    return {
        "PYTHONPATH": include,
        "MEDFERRY_SOURCE_URL": settings.source_url,
        "MEDFERRY_LEGACY_WRITER_URL": settings.legacy_writer_url,
        "MEDFERRY_MEDPLUM_BASE_URL": settings.medplum_base_url,
        "MEDFERRY_MEDPLUM_CLIENT_ID": settings.medplum_client_id,
        "MEDFERRY_MEDPLUM_CLIENT_SECRET": settings.medplum_client_secret,
        "MEDFERRY_MANIFEST_URL": settings.manifest_url,
        "MEDFERRY_STAGING_URL": settings.staging_url,
        "MEDFERRY_SETTLE_SECONDS": f"{settings.settle_seconds:g}",
    }
