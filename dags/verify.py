"""
## Verify again

Compares the legacy database, the manifest and Medplum, by a path of its own: everything that has been loaded, by
whichever runs, as it is now; or a run that is finished, whose reconciliation report is written anew. Use it before a
wave is signed, after quarantined rows were decided, or whenever in doubt.

**It changes** what the manifest knows of verifications; of a run also its status and its report. It writes nothing to
Medplum.

**Do not trigger it** to judge a wave whose users already work in Medplum and that is not kept in step: their changes
are differences, and rightly so. Where it is, what differs is looked at twice, and what is on its way between the two
systems is told as in flight.

**Example conf** (without one, everything that has been loaded is verified; a dry run has loaded nothing):

```json
{"run": "manual__2026-11-22T20:00:00+00:00"}
```

**By itself**: `MEDFERRY_VERIFY_SCHEDULE` (a cron expression such as `0 3 * * *`, or `@daily`; in UTC) in the
environment of all Airflow processes verifies everything that has been loaded on that schedule. By default it does so at
3:00 UTC where the plan keeps a wave in step (`off` switches that off), else never.

**When it is red** at `conclude`, it is not proven: the log names what differs and how to list it. "Could not check"
means that a system did not answer: clear `verify` with the tasks downstream when it does.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import verify_dag

for migration in drawn_migrations():
    verify_dag(__doc__, migration)
