"""The demo: the made-up clinics move to the embedded Medplum through a real Airflow. ``python -m demo_clinics.demo``.

Everything it makes is below one folder (build/demo) and is found again, so a second demo shows a rerun.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import sqlalchemy as sa
import typer
from rich.console import Console

from demo_clinics import database
from demo_clinics.generate import DEFAULT_PATIENTS, fill
from demo_clinics.living.systems import variables
from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import load_migration
from medferry.errors import MedferryError
from medferry.manifest import runs
from medferry.report.reconciliation import Reconciliation, reconcile
from medferry.report.table import reconciliation_table
from medferry.report.write import write_report
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from medferry_airflow.local import USER, LocalAirflow, on_postgresql

FOLDER = Path(__file__).resolve().parents[2] / "build" / "demo"

QUOTA = 1_000_000_000
"""Points a minute of the embedded server. Medplum's default of 50,000 would stretch the demo's load to an hour."""
_SETTLE_SECONDS = 10.0
"""The embedded Medplum comes to the end of a batch within a second, and one that was killed has none at work."""

_RUN_SECONDS = 1_800
_LOOK_SECONDS = 2.0

T = TypeVar("T")

console = Console(width=None if sys.stdout.isatty() else 132)


class DemoFailed(MedferryError):
    """The demo did not end as it must."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The running systems of the demo."""

    folder: Path
    environment: Environment
    airflow: LocalAirflow

    @property
    def truth(self) -> Path:
        return self.folder / "truth.json"


@contextmanager
def running(folder: Path, seed: int, patients: int, canary: str | None, port: int | None = None) -> Iterator[Stage]:
    """Legacy database (filled when new), Medplum and Airflow, until the end of the context."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _alone(folder),
        _told("legacy database", database.embedded(folder / "postgresql")) as server,
        _told("embedded Medplum", _medplum(folder)) as medplum,
    ):
        _fill(server.url, folder / "truth.json", seed, patients, canary)
        settings = Settings(
            source_url=server.url,
            legacy_writer_url=server.url,
            medplum_base_url=medplum.base_url,
            medplum_client_id=medplum.client_id,
            medplum_client_secret=medplum.client_secret,
            manifest_url=database.another(server.url, "medferry"),
            staging_url=str(folder / "staging"),
            settle_seconds=_SETTLE_SECONDS,
        )
        variables = _airflow_environment(settings, folder) | on_postgresql(database.another(server.url, "airflow"))
        with _told("Airflow", LocalAirflow(folder / "airflow", variables, port)) as airflow:
            yield Stage(folder, Environment(load_migration("clinics"), settings), airflow)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One demo a folder; the system frees the lock when its holder ends, however it ends."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(f"A demo works in {folder} already.", "Stop it, or give another --folder.") from None
        yield


def _medplum(folder: Path) -> EmbeddedMedplum:
    return EmbeddedMedplum(data=folder / "medplum.db", quota=QUOTA, log_file=folder / "medplum.log")


@contextmanager
def _told(name: str, system: AbstractContextManager[T]) -> Iterator[T]:
    """Start a system and say how long that took."""
    started = time.monotonic()
    with console.status(f"starting {name}"), ExitStack() as stack:
        entered = stack.enter_context(system)
        ending = stack.pop_all()
    console.print(f"{name}: running after {time.monotonic() - started:.0f} s")
    with ending:
        yield entered


def _fill(url: str, truth: Path, seed: int, patients: int, canary: str | None) -> None:
    """Fill the legacy database unless an earlier demo has done so; the truth is moved to its place last."""
    if truth.exists():
        return
    engine = sa.create_engine(url)
    fill(engine, seed, patients, canary=canary, truth_path=truth)
    engine.dispose()


def _airflow_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """What Airflow's tasks need; the connections appear in its own terms, as they would in production."""
    source = sa.make_url(settings.source_url)
    legacy = {
        "conn_type": "postgres",
        "host": source.host,
        "port": source.port,
        "login": source.username,
        "password": source.password,
        "schema": source.database,
    }
    medplum = {
        "conn_type": "medplum",
        "host": settings.medplum_base_url,
        "login": settings.medplum_client_id,
        "password": settings.medplum_client_secret,
    }
    return {
        "AIRFLOW_CONN_LEGACY_CLINICS": json.dumps(legacy),
        "AIRFLOW_CONN_MEDFERRY_LEGACY_WRITER": json.dumps(legacy),
        "AIRFLOW_CONN_MEDPLUM_DEFAULT": json.dumps(medplum),
        "MEDFERRY_MIGRATION": "clinics",
        "MEDFERRY_MANIFEST_URL": settings.manifest_url,
        "MEDFERRY_STAGING_URL": settings.staging_url,
        "MEDFERRY_REPORT_FOLDER": str(folder / "reports"),
        "MEDFERRY_SETTLE_SECONDS": f"{settings.settle_seconds:g}",
    }


def migrate(stage: Stage) -> Reconciliation:
    """Run ``big_bang`` through Airflow, write the report into the demo's folder and return its content.

    Raises DemoFailed when the DAG run fails or the accounting is not the generator's truth.
    """
    started = time.monotonic()
    dag_run = stage.airflow.trigger("big_bang")
    state = _watch(stage.airflow, "big_bang", dag_run)
    with stage.environment.manifest.begin() as connection:
        newest = runs.newest_run(connection, "clinics")
        content = reconcile(connection, stage.environment.migration, newest.id)
    paths = write_report(stage.environment, newest.id, stage.folder)
    console.print(reconciliation_table(content))
    console.print(
        f"big_bang: {state} after {time.monotonic() - started:.0f} s\n{paths.html}\n{paths.json}", soft_wrap=True
    )
    if state != "success":
        raise DemoFailed("The DAG run failed.", f"See the tasks' logs under {stage.airflow.logs}.")
    differences = against_truth(content, json.loads(stage.truth.read_text()))
    if differences:
        raise DemoFailed(f"The accounting is not the truth: {'; '.join(differences[:10])}.", "Report this as a bug.")
    console.print("[green]Every count equals the generator's truth.[/]")
    return content


def _watch(airflow: LocalAirflow, dag_id: str, dag_run: str) -> str:
    """Wait for the end of a DAG run and tell how far it is."""
    api = airflow.api
    assert api is not None
    with console.status("big_bang: waiting for Airflow") as status:
        deadline = time.monotonic() + _RUN_SECONDS
        while time.monotonic() < deadline:
            airflow.check()
            states = airflow.task_states(dag_id, dag_run)
            done = sum(state in ("success", "skipped") for state in states.values())
            at_work = sorted({task for (task, _), state in states.items() if state == "running"})
            status.update(f"big_bang: {done} of {len(states)} tasks done; at work: {', '.join(at_work) or 'nothing'}")
            if (state := api.state(dag_id, dag_run)) in ("success", "failed"):
                return state
            time.sleep(_LOOK_SECONDS)
    raise DemoFailed(f"The DAG run has not ended after {_RUN_SECONDS} s.", f"See the logs under {airflow.logs}.")


def against_truth(content: Reconciliation, truth: dict[str, object]) -> list[str]:
    """Where the accounting differs from what the generator knows: "entity/unit: disposition has, should be"."""
    names = ("successful", "skipped", "quarantined", "rejected")
    has = {(r.entity, r.unit, name): getattr(r, name) for r in content.rows for name in names if getattr(r, name)}
    should = {
        (entity, unit, disposition): number if isinstance(number, int) else sum(number.values())
        for entity, units in truth["counts"].items()  # type: ignore[attr-defined]
        for unit, dispositions in units.items()
        for disposition, number in dispositions.items()
    }
    return [
        f"{entity}/{unit}: {has.get((entity, unit, name), 0)} {name}, should be {should.get((entity, unit, name), 0)}"
        for entity, unit, name in sorted(has.keys() | should.keys())
        if has.get((entity, unit, name), 0) != should.get((entity, unit, name), 0)
    ]


def main(
    serve: Annotated[bool, typer.Option(help="Serve the Airflow UI until Ctrl-C instead of running big_bang.")] = False,
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = FOLDER,
    seed: Annotated[int, typer.Option(help="Of the made-up data.")] = 7,
    patients: Annotated[int, typer.Option(min=1, help="How many patients to make up.")] = DEFAULT_PATIENTS,
    canary: Annotated[str | None, typer.Option(help="A word to plant into patients' names.")] = None,
    port: Annotated[int | None, typer.Option(help="Of the Airflow UI.")] = None,
) -> None:
    """Migrate the demo clinics to the embedded Medplum through Airflow."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped on the way out
    try:
        with running(folder.resolve(), seed, patients, canary, port) as stage:
            if serve:
                _serve(stage)
            else:
                migrate(stage)
    except MedferryError as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}", soft_wrap=True)
        raise typer.Exit(1) from None


def write_variables(settings: Settings, path: Path) -> None:
    """Write what a shell sources so that `medferry` works at the same systems; it holds passwords: 0600."""
    lines = [
        f"export {name}={shlex.quote(value)}" for name, value in variables(settings).items() if name != "PYTHONPATH"
    ]
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join(["export MEDFERRY_MIGRATION=clinics", *lines, ""]))


def _serve(stage: Stage) -> None:
    airflow, shell = stage.airflow, stage.folder / "medferry.env"
    write_variables(stage.environment.settings, shell)
    told = (
        f"Airflow   {airflow.url}\nuser      {USER}\npassword  {airflow.password}\nFor the command line: source {shell}"
    )
    console.print(f"{told}\nStop it with Ctrl-C.", soft_wrap=True)
    try:
        while True:
            airflow.check()
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        console.print("Stopping …")


if __name__ == "__main__":
    typer.run(main)
