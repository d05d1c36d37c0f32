"""
## Replay dead letters

Runs the rejected and quarantined source rows of an earlier run again, exactly those that no later run has settled, as a
run of their own: after a mapping, a code table or the legacy rows themselves were corrected. Rows that only waited for
one of these are among them, and arrive after it. Without anything to replay it is green, and makes no run.

**It changes** Medplum and the manifest, for these rows alone. The earlier run's ledger stays as it is; `medferry
dead-letters` tells beside each row what is true of it now. It never writes to the legacy database.

**Do not trigger it** while another run works on the units and entities of these rows (it would be refused), or before
anything was corrected: the rows would end as they did.

**Example conf**, the rows of one reason, to be tried without writing; without `run`, the newest
run that has left any is replayed:

```json
{"run": "manual__2026-11-22T20:00:00+00:00", "reasons": ["unmapped-code"], "dry_run": true}
```

**When it is red**, open the failed task's log: the last line tells what to do. When the cause is removed, clear the
failed tasks together with those downstream. When only `conclude` failed, read the reconciliation report.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import replay_dag

for migration in drawn_migrations():
    replay_dag(__doc__, migration)
