"""The routing: `routing show`, `check`, `publish`."""

from __future__ import annotations

import typer
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.cutover.routing import Routing
from medferry.errors import MedferryError
from medferry.workflows.routing import present_routing, publish_routing, published_routing

routing_app = typer.Typer(
    no_args_is_help=True,
    help="Tell applications which system serves the reads of a unit, and which takes its writes: "
    "flag definitions of flagd in the file MEDFERRY_ROUTING_FILE.",
)


@routing_app.command("show")
@report_errors
def routing_show(migration: MigrationOption = "clinics") -> None:
    """Show what is published."""
    found = published_routing(environment_of(migration))
    console.print(_table(found) if found else "Nothing has been published: `medferry routing publish`.")


@routing_app.command("check")
@report_errors
def routing_check(migration: MigrationOption = "clinics") -> None:
    """Check that what is published is what the gates in the legacy database say."""
    environment = environment_of(migration)
    published, present = published_routing(environment), present_routing(environment)
    if published is None:
        raise MedferryError("Nothing has been published.", "Run `medferry routing publish`.")
    said = {route.place: route for route in published.routes}
    true = {route.place: route for route in present.routes}
    if other := sorted(place for place in {*said, *true} if said.get(place) != true.get(place)):
        named = ", ".join("/".join(place) for place in other[:5])
        raise MedferryError(
            f"Of {len(other)} routes the gates say something else than what is published: {named}.",
            "Run `medferry routing publish`.",
        )
    console.print(f"The routing is as the gates say: version {published.version}, {len(said)} routes.")


@routing_app.command("publish")
@report_errors
def routing_publish(migration: MigrationOption = "clinics") -> None:
    """Write the file anew from the gates in the legacy database, if it says anything else."""
    done = publish_routing(environment_of(migration))
    console.print(f"{'Published' if done.changed else 'Nothing to do'}: version {done.routing.version}.")


def _table(routing: Routing) -> Table:
    table = Table(title=f"Routing of {routing.migration}, version {routing.version}", title_justify="left")
    for name in ("unit", "domain", "reads", "writes", "epoch"):
        table.add_column(name, justify="right" if name == "epoch" else "left")
    for route in routing.routes:
        table.add_row(route.unit, route.domain, route.reads, route.writes, str(route.epoch))
    return table
