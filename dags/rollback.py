"""
## Move a wave's operations back to the legacy system

The wave's users work in Medplum, and the legacy database follows. This DAG lets them work in the legacy system again,
with all that they have written in Medplum: people approve, Medplum is closed for the units, what was in flight is
waited for and written back, every write since the flip is proven to be there, and the units are flipped back.

**It changes** the AccessPolicies of the units' users in Medplum, the units' gates and rows in the legacy database, the
routing, and the manifest.

**Do not trigger it** lightly when `medferry cutover status` says that a rollback is unsafe: it will refuse to flip,
and says what is missing.

**Example conf**: it has none.

**When it is red** before `flip`, nothing has changed for the users: `thaw` has opened Medplum again. Read the failed
task's log, remove the cause, and clear `look` with all that is downstream, or trigger anew. When `flip` is red, clear
it: it goes on. Afterwards the next `cutover_<wave>` needs no load.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.moving import rollback_dag

for migration in drawn_migrations():
    for wave in migration.moving_waves:
        rollback_dag(wave, __doc__, migration)
