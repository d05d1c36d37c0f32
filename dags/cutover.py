"""
## Move a wave's operations to Medplum

Until now the wave's users work in the legacy system, and Medplum follows. This DAG lets them work in Medplum: every
condition is looked at, people approve, the units are frozen for a moment, the last changes go over and are verified,
and the units are flipped. It exists for each wave (`all` where the plan has none) where `gate.yaml` says `medplum`.

**It changes** the gates of the wave's units in the legacy database, the AccessPolicies of their users in Medplum, the
routing, Medplum (the last changes), and the manifest.

**Do not trigger it** outside of the wave's window, or while nobody of those whom the plan lets approve is there:
without an answer in eight hours the answer is no, and nothing was closed.

**Example conf**: it has none.

**When it is red** before `flip`, nothing has changed for the users: `thaw` has opened what was closed, and what it
could not open opens by itself. `thaw` is red as well, as the units have not moved. Read the log of the first task that
failed, remove the cause, and clear `look` with all that is downstream, or trigger anew; nothing is loaded again. When
`flip` is red, read its log: what it has begun goes on when it is cleared. To go back at any time, trigger
`rollback_<wave>`.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.moving import cutover_dag

for migration in drawn_migrations():
    for wave in migration.moving_waves:
        cutover_dag(wave, __doc__, migration)
