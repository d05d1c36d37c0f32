"""
## Migrate one wave

Reads the legacy database, and creates or updates in Medplum every record of this wave's business units, and of the
shared units, which go with every wave. Every source row ends as successful, rejected, skipped or quarantined, and the
run is green only when a verification that reads both systems again finds no difference.

**It changes** Medplum and the manifest. It never writes to the legacy database, and never deletes in Medplum.

**Do not trigger it** while another run works on these units or the shared ones (it would be refused: a lease protects
them), after people have begun to work in Medplum with this wave's records, or before the wave's rehearsal is signed.

**Example conf**, a rehearsal that writes nothing; and a load that leaves half of the quota to live users:

```json
{"dry_run": true}
```
```json
{"reserve_points": 25000, "lanes": 1}
```

**When it is red**, open the failed task's log: the last line tells what to do. When the cause is removed, clear the
failed tasks together with those downstream. The run goes on where it stopped; nothing is loaded twice. When only
`conclude` failed, the run is finished but not proven: read the reconciliation report first.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import broken_dag, wave_dag

for migration in drawn_migrations():
    for wave in migration.waves:
        wave_dag(wave, __doc__, migration)
    if migration.error and not migration.waves:
        broken_dag("waves", "Waves", __doc__, migration)
