"""The command line: for the mapping author at work and for operators without Airflow."""

from __future__ import annotations

import sys

import typer

from medferry.cli.announce import announce_app
from medferry.cli.audit import audit_app
from medferry.cli.capture import capture_app
from medferry.cli.charts import charts_app
from medferry.cli.conflicts import conflicts_app
from medferry.cli.control import control_app
from medferry.cli.cutover import cutover_app, rollback_app
from medferry.cli.dead_letters import dead_letters_app
from medferry.cli.examples import test_app
from medferry.cli.exceptions import exceptions_app
from medferry.cli.four_eyes import four_eyes_app
from medferry.cli.gate import gate_app
from medferry.cli.heal import heal_app
from medferry.cli.inventory import inventory_app
from medferry.cli.leftovers import leftovers_app
from medferry.cli.manifest import manifest_app
from medferry.cli.medplum import medplum_app
from medferry.cli.new import new_app
from medferry.cli.panic import panic_app
from medferry.cli.pepper import key_app, pepper_app
from medferry.cli.plan import plan_app
from medferry.cli.purge import purge_app
from medferry.cli.readiness import readiness_app
from medferry.cli.retire import evidence_app, retire_app
from medferry.cli.routing import routing_app
from medferry.cli.run import run_app
from medferry.cli.runs import runs_app
from medferry.cli.safety import safety_app
from medferry.cli.side_effects import side_effects_app
from medferry.cli.source import source_app
from medferry.cli.sync import sweep_app, sync_app
from medferry.cli.systems import systems_app
from medferry.cli.try_row import try_app
from medferry.cli.verify import verify_app

# A pretty traceback may show local variables, and they may hold patient data.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Move a legacy SQL health platform to Medplum.",
)
# A group without a name gives its commands to the command line itself; the order here is the order of the help.
app.add_typer(try_app)
app.add_typer(test_app)
app.add_typer(run_app)
app.add_typer(verify_app)
app.add_typer(runs_app)
app.add_typer(plan_app, name="plan")
app.add_typer(new_app)
app.add_typer(source_app, name="source")
app.add_typer(inventory_app)
app.add_typer(medplum_app, name="medplum")
app.add_typer(dead_letters_app)
app.add_typer(control_app)
app.add_typer(systems_app)
app.add_typer(heal_app)
app.add_typer(leftovers_app)
app.add_typer(purge_app)
app.add_typer(exceptions_app, name="exceptions")
app.add_typer(charts_app, name="charts")
app.add_typer(capture_app, name="capture")
app.add_typer(gate_app, name="gate")
app.add_typer(routing_app, name="routing")
app.add_typer(cutover_app, name="cutover")
app.add_typer(rollback_app)
app.add_typer(retire_app)
app.add_typer(evidence_app, name="evidence")
app.add_typer(panic_app)
app.add_typer(sync_app, name="sync")
app.add_typer(sweep_app)
app.add_typer(conflicts_app, name="conflicts")
app.add_typer(readiness_app, name="readiness")
app.add_typer(safety_app)
app.add_typer(side_effects_app)
app.add_typer(announce_app)
app.add_typer(audit_app, name="audit")
app.add_typer(key_app)
app.add_typer(pepper_app, name="pepper")
app.add_typer(four_eyes_app, name="four-eyes")
app.add_typer(manifest_app, name="manifest")


if __name__ == "__main__":
    sys.exit(app(prog_name="medferry"))
