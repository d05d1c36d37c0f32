"""Draw charts for review and write them as pages that only their owner may read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import jinja2

from medferry.charts.gather import Chart, gather
from medferry.charts.links import Links
from medferry.charts.pages import INDEX, MARK, make_room
from medferry.charts.sample import Wanted, draw
from medferry.errors import MedferryError
from medferry.manifest.charts import record_charts
from medferry.manifest.checks import CheckStatus
from medferry.manifest.database import now
from medferry.runtime.environment import Environment
from medferry.source.printable import printable_value
from medferry.verification.options import Sampling
from medferry.verification.scope import scope_of_run

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=printable_value,
)
_TEMPLATES.globals["CheckStatus"] = CheckStatus
_TEMPLATES.globals["MARK"] = MARK


def write_charts(
    environment: Environment,
    run_id: str,
    wanted: Wanted,
    folder: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Chart]:
    """Draw charts, note them in the manifest, write a page each and an index into `folder` (0700, its files 0600).

    Pages of an earlier drawing in the folder are removed. File names are numbers. `progress` gets each patient's key.
    Raises UnknownRun, NoPatients, FolderTaken, MedferryError when a system does not answer.
    """
    links = Links(scope_of_run(environment, run_id, Sampling()))
    if links.scope.options.dry_run:
        raise MedferryError(f"Run {run_id} was a dry run: nothing is in Medplum.", "Choose another run.")
    make_room(folder)
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


def _write(path: Path, template: str, **content: object) -> None:
    """A new file, never readable by others, not even for a moment."""
    page = _TEMPLATES.get_template(template).render(**content, drawn_at=now())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(page)
