"""
## Verify a run again

Compares the legacy database, the manifest and Medplum for a run that is finished, by a path of its own, and writes the
reconciliation report anew. Use it before a wave is signed, after quarantined rows were decided, or whenever in doubt.

**It changes** the run's recorded checks and status, and its report. It writes nothing to Medplum.

**Do not trigger it** to judge a wave whose users already work in Medplum: their changes are
differences, and rightly so.

**Example conf** (without one, the newest finished run is verified):

```json
{"run": "wave_pilot.manual__2026-11-22T20:00:00+00:00"}
```

**By itself**: `MEDFERRY_VERIFY_SCHEDULE` (a cron expression such as `0 3 * * *`, or `@daily`; in UTC) in the
environment of all Airflow processes verifies the newest finished run on that schedule. It is off by default:
set it while nobody writes in the legacy system or in Medplum, for their changes are differences.

**When it is red** at `conclude`, the run is not proven: read the report. "Could not check" means that a system did not
answer: clear `verify` with the tasks downstream when it does.
"""

from medferry.definition.migration import Migration
from medferry_airflow.definition import current_or_error
from medferry_airflow.factory import broken_dag, verify_dag, verify_schedule

found = current_or_error()
if isinstance(found, Migration):
    dag = verify_dag(__doc__, found, verify_schedule())
else:
    dag = broken_dag("verify", "Verify: the migration cannot be read", __doc__, found)
