"""The surroundings of a rehearsal: the same migration and legacy database, another Medplum, a manifest of its own.

Nothing in them can move a unit: they know no gates, no policies, no probes and no routing, have no account to write the
legacy tables, and whatever would write a gate in the legacy database is refused on its connection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from medferry.errors import MedferryError, SettingsError
from medferry.manifest import homes
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.several import variables_of
from medferry.source.gate.gate import GATE

_VARIABLES = {
    "manifest_url": "MEDFERRY_REHEARSAL_MANIFEST_URL",
    "staging_url": "MEDFERRY_REHEARSAL_STAGING_URL",
    "medplum_base_url": "MEDFERRY_REHEARSAL_MEDPLUM_BASE_URL",
    "medplum_client_id": "MEDFERRY_REHEARSAL_MEDPLUM_CLIENT_ID",
    "medplum_client_secret": "MEDFERRY_REHEARSAL_MEDPLUM_CLIENT_SECRET",
}
_READS = ("SELECT", "PRAGMA", "WITH", "SHOW")


class NeverInRehearsal(MedferryError):
    """A rehearsal would have moved a unit, or the unit was moved meanwhile: it is not recorded."""


def rehearsal_of(environment: Environment, variables: Mapping[str, str] = os.environ) -> Environment:
    """Raises SettingsError where a system of the rehearsal is not named."""
    variables = variables_of(environment.migration.name, variables)
    if missing := [variable for variable in _VARIABLES.values() if not variables.get(variable)]:
        raise SettingsError(
            f"{', '.join(missing)} is not set: there is nothing to rehearse against.",
            "Name another Medplum project and a manifest of its own: docs/runbooks/cutover.md.",
        )
    given: dict[str, Any] = {name: variables[variable] for name, variable in _VARIABLES.items()}
    none: dict[str, Any] = {
        "decision_url": "",
        "legacy_writer_url": "",
        "legacy_writer_arguments": {},
        "probes": {},
        "routing_file": "",
    }
    settings = replace(environment.settings, **given, **none, routing_webhook="", routing_webhook_secret="")
    rehearsal = Environment(replace(environment.migration, gate=None), settings)
    sa.event.listen(rehearsal.capture, "before_cursor_execute", _refuse_gates)
    return rehearsal


def check_apart(environment: Environment, rehearsal: Environment, client: MedplumClient) -> None:
    """`client` is of the rehearsal. Raises NeverInRehearsal where it has a system of the real migration."""
    settings, own = environment.settings, rehearsal.settings
    with environment.manifest.begin() as connection:
        manifest = homes.manifest_id(connection)
        known = homes.medplums_of(connection, environment.migration.name)
    with rehearsal.manifest.begin() as connection:
        same = ["the manifest"] if homes.manifest_id(connection) == manifest else []
    place, project = own.medplum_base_url.rstrip("/") + "/", client.project(patient=True)
    with environment.medplum() as real:
        present = homes.Home(settings.medplum_base_url.rstrip("/") + "/", real.project(patient=True))
    for one in (*known, present):
        if project == one.identity if project and one.identity else place == one.place:
            same.append("the Medplum project")
            break
    if same:
        raise NeverInRehearsal(
            f"The rehearsal has {' and '.join(same)} of the real migration.",
            "Correct MEDFERRY_REHEARSAL_*: it needs a Medplum project and a manifest of its own.",
        )


def _refuse_gates(_: sa.Connection, __: Any, statement: str, *___: Any) -> None:
    """Raises NeverInRehearsal."""
    if GATE in statement and not statement.lstrip().upper().startswith(_READS):
        raise NeverInRehearsal("A rehearsal was about to write the gates.", "Report it: nothing was written.")
