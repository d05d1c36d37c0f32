"""The operator's page of a DAG (its ``doc_md``): the DAG file's own text, then the facts of this migration."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from medferry.errors import DefinitionError, MedferryError
from medferry_airflow.definition import Served
from medferry_airflow.names import MEDPLUM, POOL


def page(text: str, served: Served, units: Sequence[str]) -> str:
    """`text`, with the scope, the connections and the load order of the migration below it."""
    plan = served.outline.plan
    source, medplum = served.connection_of(plan.source.connection), served.connection_of(MEDPLUM)
    titles = {unit.id: unit.title for unit in plan.units}
    rows = [
        ("Migration", f"{plan.title} (`{plan.name}`)"),
        ("Units", ", ".join(f"{titles[unit]} (`{unit}`)" for unit in units)),
        ("Connections", f"`{source}` (legacy database), `{medplum}` (Medplum)"),
        ("Pool", f"`{POOL}` bounds the tasks that talk to Medplum at once; the scheduler makes it when it starts"),
        *((f"Load level {number}", ", ".join(names)) for number, names in enumerate(served.outline.levels)),
    ]
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    return f"{inspect.cleandoc(text)}\n\n### This migration\n\n{table}\n"


def broken_page(text: str, error: MedferryError) -> str:
    """What is wrong with the migration's files, above the DAG file's own text."""
    where = "the migration"
    if isinstance(error, DefinitionError):
        where = f"`{error.path}`" + (f", line {error.line}" if error.line else "")
    return (
        f"## The migration cannot be read\n\n- **Where**: {where}\n- **What**: {error.problem}\n"
        f"- **What to do**: {error.remedy}\n\nNothing can be migrated until this is corrected; this page follows "
        f"within a minute.\n\n{inspect.cleandoc(text)}\n"
    )
