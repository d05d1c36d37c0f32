"""
## Rehearse a wave's cutover

Measures what a freeze would take, act by act, against another Medplum project with a manifest of its own, while users
work. `measure` does it and records it for the gate `rehearsal` and the forecast; each `stage` shows what one act took.
The first load of the other project and its sweep are yours (docs/runbooks/cutover.md).

**It changes** the other Medplum project and its manifest, Medferry's own journal in the legacy database, and one line
in the manifest. It closes nothing and cannot flip.

**Do not trigger it** where `MEDFERRY_REHEARSAL_…` is not set for Airflow's workers: it fails with what is missing.

**Example conf**: it has none.

**When it is red**, nothing was recorded, and nothing has changed for the users, unless it says that a gate, a policy or
the routing changed meanwhile: then look at once. Read the log of `measure`, remove the cause, and clear it, or trigger
it anew.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.moving import rehearsal_dag

for migration in drawn_migrations():
    for wave in migration.moving_waves:
        rehearsal_dag(wave, __doc__, migration)
