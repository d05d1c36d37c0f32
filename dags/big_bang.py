"""
## Migrate everything in one run

Reads the legacy database, and creates or updates in Medplum every record of the units chosen (all, unless told
otherwise). Every source row ends as successful, rejected, skipped or quarantined, and the run is green only when a
verification that reads both systems again finds no difference.

**It changes** Medplum and the manifest. It never writes to the legacy database, and never deletes in Medplum.

**Do not trigger it** while a wave runs over the same units (it would be refused: a lease protects them), while
people already work in Medplum with these units' records, or without a dry run of the same version of the mappings.

**Example conf**, a rehearsal on ten rows of each slice that writes nothing:

```json
{"dry_run": true, "sample": 10}
```

**When it is red**, open the failed task's log: the last line tells what to do. When the cause is removed, clear the
failed tasks together with those downstream. The run goes on where it stopped; nothing is loaded twice. When only
`conclude` failed, the run is finished but not proven: read the reconciliation report first.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import big_bang_dag

for migration in drawn_migrations():
    big_bang_dag(__doc__, migration)
