"""Try the examples of mappings: `test`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from medferry.cli.terminal import MigrationOption, console, entity_of, report_errors
from medferry.definition.examples import load_examples
from medferry.definition.fingerprint import EXAMPLES
from medferry.definition.migration import load_migration
from medferry.errors import MedferryError
from medferry.stages.examples import differences_of

test_app = typer.Typer()

_COLOURS = {"+": "green", "-": "red"}


@test_app.command("test")
@report_errors
def test_mappings(
    entity: Annotated[str | None, typer.Argument(help="Of this entity alone.")] = None,
    migration: MigrationOption = "clinics",
) -> None:
    """Try the mappings on the rows of examples/<entity>.yaml, and show what becomes otherwise than they say.

    Needs no database. Ends with 1 where something differs.
    """
    loaded = load_migration(migration)
    known = load_examples(loaded.folder, loaded.specs)
    if entity is not None:
        known = {name: known[name] for name in [entity_of(loaded, entity).name] if name in known}
    if not known:
        where = f"{EXAMPLES}/{entity or '<entity>'}.yaml"
        raise MedferryError(f"There is no {where}.", "Write one: docs/reference.md shows how.")
    tried = failed = 0
    for name, examples in known.items():
        for number, example in enumerate(examples.examples):
            tried += 1
            if differs := differences_of(loaded, name, examples, number):
                failed += 1
                console.print(f"[bold red]{name}[/]: {escape(example.name)}", soft_wrap=True)
                for line in differs:
                    console.print(Text(line, _COLOURS.get(line[:1], "")), soft_wrap=True)
    console.print(f"{tried - failed} of {tried} examples of {', '.join(known)} come out as they say.")
    without = sorted(loaded.specs.keys() - known.keys())
    if entity is None and without:
        console.print(f"without examples: {', '.join(without)}")
    if failed:
        raise typer.Exit(1)
