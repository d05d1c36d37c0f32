"""Write the reconciliation report's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import orjson

from medferry.governance.readiness import ReadinessGate
from medferry.governance.register import family_of, is_fault, kind_of
from medferry.manifest.checks import CheckResult, CheckStatus, worst
from medferry.report.coverage import coverage_text
from medferry.report.reconciliation import Reconciliation, reconcile
from medferry.report.shown import shown_check
from medferry.report.table import NUMBERS
from medferry.report.templates import DISPOSITIONS, TEMPLATES
from medferry.report.throughput import svg
from medferry.runtime.environment import Environment
from medferry.source.shown_keys import shown_key, shown_keys
from medferry.store.files import Store
from medferry.store.place import without_account


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """Where the two files of a report are."""

    json: Path
    html: Path


_JSON, _HTML = "reconciliation.json", "reconciliation.html"

Readiness = Mapping[str, Sequence[ReadinessGate]]
"""Wave → its gates, as they are now: they are asked of all systems, which the report does not do by itself."""
NOT_ASKED: Readiness = MappingProxyType({})


def write_report(environment: Environment, run_id: str, folder: Path, readiness: Readiness = NOT_ASKED) -> ReportPaths:
    """Write ``reconciliation.json`` and ``.html`` of a run into `folder`. Raises UnknownRun."""
    files = _files(environment, run_id, readiness)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return ReportPaths(folder / _JSON, folder / _HTML)


def publish_report(environment: Environment, run_id: str, url: str) -> str:
    """Write both files of a run's report below an fsspec URL; returns the address of the page.

    Raises UnknownRun, and what a `Store` raises.
    """
    store = Store(url, options=environment.settings.store_options)
    for name, content in _files(environment, run_id, NOT_ASKED).items():
        with store.writing(name) as file:
            file.to.write(content)
    return f"{without_account(url)}/{_HTML}"


def _files(environment: Environment, run_id: str, readiness: Readiness) -> dict[str, bytes]:
    """The files of a report, by name."""
    with environment.manifest.begin() as connection:
        content = reconcile(connection, environment.migration, run_id)
    asked = {wave: [asdict(gate) for gate in gates] for wave, gates in readiness.items()}
    told = orjson.dumps({**content.as_json(), "readiness": asked}, option=orjson.OPT_INDENT_2)
    return {_JSON: told, _HTML: render_html(content, readiness).encode()}


def render_html(content: Reconciliation, readiness: Readiness = NOT_ASKED) -> str:
    """One self-contained page: verdict first, then what a person must decide, then the detail."""
    return TEMPLATES.get_template("reconciliation.html.jinja").render(
        report=content,
        run=content.run,
        total=content.total,
        entities=list(dict.fromkeys(row.entity for row in content.rows)),
        units=list(dict.fromkeys(row.unit for row in content.rows)),
        throughput=svg(content.sent),
        families=_families(content),
        shown_key=shown_key,
        shown_keys=shown_keys,
        status_of=_status,
        coverage_text=coverage_text,
        faults=list(map(shown_check, filter(is_fault, content.checks))),
        dispositions=DISPOSITIONS,
        numbers=NUMBERS,
        readiness=readiness,
    )


def _families(content: Reconciliation) -> dict[str, dict[str, list[CheckResult]]]:
    """Category → family of checks → results, the worst first."""
    found: dict[str, dict[str, list[CheckResult]]] = {}
    order = list(CheckStatus)
    for result in sorted(
        map(shown_check, content.checks), key=lambda one: (-order.index(one.status), one.entity, one.name)
    ):
        family = family_of(result.name)
        found.setdefault(kind_of(family)[0], {}).setdefault(family, []).append(result)
    return found


def _status(results: list[CheckResult]) -> CheckStatus:
    """Of a family: the worst; an entity that had nothing to compare, and need not have, leaves it to the others."""
    return worst(one.status for one in results if is_fault(one) or one.status != CheckStatus.NOTHING)
