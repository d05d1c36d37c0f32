"""Draw charts for review and write them as pages that only their owner may read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jinja2

from medferry.charts.gather import Chart, gather
from medferry.charts.links import Links
from medferry.charts.sample import Wanted, draw
from medferry.errors import MedferryError
from medferry.manifest.charts import record_charts
from medferry.manifest.checks import CheckStatus
from medferry.manifest.database import now
from medferry.runtime.environment import Environment
from medferry.verification.options import Sampling
from medferry.verification.scope import scope_of_run

INDEX = "index.html"

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["CheckStatus"] = CheckStatus


def write_charts(
    environment: Environment,
    run_id: str,
    wanted: Wanted,
    folder: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Chart]:
    """Draw charts, note them in the manifest, write a page each and an index into `folder` (0700, its files 0600).

    Pages of an earlier drawing in the folder are removed. File names are numbers. `progress` gets each patient's key.
    Raises UnknownRun, NoPatients, MedferryError when a system does not answer.
    """
    links = Links(scope_of_run(environment, run_id, Sampling()))
    if links.scope.options.dry_run:
        raise MedferryError(f"Run {run_id} was a dry run: nothing is in Medplum.", "Choose another run.")
    _empty(folder)
    charts: list[Chart] = []
    with environment.medplum(links.scope.options) as client:
        chosen = draw(links, client, wanted)
        for number, (key, why) in enumerate(chosen.items(), start=1):
            progress(key)
            chart = gather(links, client, key, why)
            _write(folder / f"chart-{number:04d}.html", "chart.html.jinja", chart=chart, run_id=run_id, number=number)
            charts.append(chart)
    _write(folder / INDEX, "index.html.jinja", charts=charts, run_id=run_id, wanted=wanted)
    with environment.manifest.begin() as connection:
        record_charts(connection, run_id, links.patient, wanted.seed, chosen.items())
    return charts


@dataclass(frozen=True, slots=True)
class DrawnCharts:
    """The pages of a run's charts; `age_days` is that of the youngest."""

    folder: Path
    pages: list[Path]
    bytes: int
    age_days: float


def drawn_charts(root: Path) -> list[DrawnCharts]:
    """The charts that were drawn into folders of runs below `root`, in the order of their names."""
    found = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        if pages := _pages(folder):
            facts = [page.stat() for page in pages]
            age = (time.time() - max(fact.st_mtime for fact in facts)) / 86_400
            found.append(DrawnCharts(folder, pages, sum(fact.st_size for fact in facts), age))
    return found


def remove_charts(drawn: DrawnCharts) -> None:
    """Remove the pages, and the folder where nothing else is in it. What the manifest knows of reviews stays."""
    for page in drawn.pages:
        page.unlink(missing_ok=True)
    with suppress(OSError):
        drawn.folder.rmdir()


def _pages(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("chart-*.html")), *folder.glob(INDEX)]


def _empty(folder: Path) -> None:
    """Have the folder for its owner alone, with no page of an earlier drawing."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for page in _pages(folder):
        page.unlink()


def _write(path: Path, template: str, **content: object) -> None:
    """A new file, never readable by others, not even for a moment."""
    page = _TEMPLATES.get_template(template).render(**content, drawn_at=now())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(page)
