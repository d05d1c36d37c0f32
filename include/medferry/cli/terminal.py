"""What all commands of the command line share: the console, how errors are reported, the environment, the report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from typer.core import TyperGroup

from medferry.definition.migration import Migration, load_migration
from medferry.definition.outline import migration_folder
from medferry.errors import MedferryError
from medferry.manifest import runs
from medferry.manifest.run_names import run_called
from medferry.mapping.outcomes import DEAD
from medferry.plan.load import load_plan
from medferry.report.reconciliation import reconcile
from medferry.report.table import reconciliation_table, unexplained
from medferry.report.write import NOT_ASKED, Readiness, write_report
from medferry.runtime import pulse
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings, settings_from_environment
from medferry.runtime.several import variables_of
from medferry.source.entity import SourceEntity
from medferry.source.printable import OBEYED


class SafeConsole(Console):
    """Shows signs that a terminal obeys as what they are: a key, a value or a file's name may hold them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            plain = segment.control or OBEYED.search(segment.text) is None
            yield segment if plain else Segment(OBEYED.sub("\N{REPLACEMENT CHARACTER}", segment.text), segment.style)


_PULSE = logging.getLogger(pulse.__name__)

console = SafeConsole(width=None if sys.stdout.isatty() else 132, emoji=False)
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F")

MigrationOption = Annotated[
    str,
    typer.Option("--migration", "-m", envvar="MEDFERRY_MIGRATION", help="Name under include/migrations, or a folder."),
]
ReportFolderOption = Annotated[Path, typer.Option(help="Where the reports go.")]
NOT_BEGUN = "No run was begun: nothing was staged, and nothing written."
FREE_TEXT = "Free text: it is kept in the manifest and shown in the report, so it must hold no patient data."
"""What the help of every such option ends with."""
RunArgument = Annotated[
    str | None, typer.Argument(help="Run, by its id or its DAG run's in Airflow; the newest not dry by default.")
]


def group_with_default(name: str) -> type[TyperGroup]:
    """A group whose command `name` is meant when none is named, so that `medferry exceptions RUN` lists."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not args or (args[0] not in self.commands and args[0] != "--help"):
                args = [name, *args]
            return super().parse_args(ctx, args)

    return Group


def report_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Show a Medferry error as two lines and exit 1, instead of a traceback."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except MedferryError as error:
            SafeConsole(stderr=True).print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}")
            raise typer.Exit(error.exit_code) from None
        except SQLAlchemyError as error:
            name = type(error).__name__  # its text quotes the statement
            SafeConsole(stderr=True).print(
                f"[bold red]{name}[/]: a database failed. Check it, then go on with --resume."
            )
            raise typer.Exit(1) from None

    return wrapper


def show_findings(findings: Iterable[F], table: Callable[[list[F]], Table]) -> list[F]:
    """All of them, shown as a table; what was done before a failure is shown, too."""
    found: list[F] = []
    try:
        found.extend(findings)  # it keeps what came before a failure
    finally:
        if found:
            console.print(table(found))
    return found


def environment_of(migration: str) -> Environment:
    """The environment of a migration, its systems as the MEDFERRY_* variables say."""
    loaded = load_migration(migration)
    return Environment(loaded, settings_from_environment(variables_of(loaded.name)))


def settings_of(migration: str) -> Settings:
    """What the MEDFERRY_* variables say for a migration, of which the plan alone is read."""
    return settings_from_environment(variables_of(load_plan(migration_folder(migration) / "plan.yaml").name))


def entity_of(migration: Migration, name: str) -> SourceEntity:
    """An entity by its name. Raises MedferryError that lists the known ones."""
    if name not in migration.entities:
        raise MedferryError(f"There is no entity {name}.", f"Choose one of {', '.join(sorted(migration.entities))}.")
    return migration.entities[name]


def chosen_run(environment: Environment, name: str | None) -> str:
    """The id of the run that is named, by its own id or its DAG run's, or else of the newest that is no dry one.

    Raises UnknownRun, AmbiguousRun.
    """
    migration = environment.migration.name
    with environment.manifest.begin() as connection:
        return (run_called(connection, migration, name) if name else runs.newest_run(connection, migration)).id


def show_report(environment: Environment, run_id: str, folder: Path, readiness: Readiness = NOT_ASKED) -> None:
    """Print a run's reconciliation and write its files; where it was refused before it began, that it did nothing."""
    with environment.manifest.begin() as connection:
        if runs.find_run(connection, run_id) is None:
            console.print(NOT_BEGUN)
            return
        content = reconcile(connection, environment.migration, run_id)
    console.print(reconciliation_table(content))
    for line in (*unexplained(content), *filter(None, [content.not_judged, content.unclaimed])):
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)
    paths = write_report(environment, run_id, folder / run_id, readiness)
    console.print(f"report: {paths.html}\n        {paths.json}", soft_wrap=True)
    if sum(map(content.total, DEAD)):
        console.print(f"to decide: medferry dead-letters {run_id}", soft_wrap=True)


class _Shown(logging.Handler):
    """Shows what a task at work logs, above the bars."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(escape(record.getMessage()), soft_wrap=True, highlight=False)


class Bars:
    """One progress bar a stage; and every half minute what the present one has done, and what it waits for."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, TextColumn("[dim]{task.fields[entity]}"), console=console)
        self._bars: dict[str, TaskID] = {}
        self._pulse = _Shown()

    def __enter__(self) -> Callable[[str, str, int, int], None]:
        self._progress.start()
        _PULSE.addHandler(self._pulse)
        _PULSE.setLevel(logging.INFO)
        return self.tell

    def __exit__(self, *_: object) -> None:
        _PULSE.removeHandler(self._pulse)
        self._progress.stop()

    def tell(self, stage: str, entity: str, done: int, total: int) -> None:
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=total, entity="")
        self._progress.update(self._bars[stage], advance=done, entity=entity)
