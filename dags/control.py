"""
## Pause, resume or abort a run at work

Sets a flag in the manifest, which the workers of the run obey within seconds, each after the chunk it has begun. On
**pause** they wait and keep the run's leases; on **resume** they go on; on **abort** they fail with `RunAborted`, which
is not tried again, the run ends as aborted and its leases are given back. A later run goes on from there.

**It changes** the flag of the run in the manifest, and nothing else. What was loaded stays, and stays recorded.

**Do not trigger it** with abort when a pause is enough: the aborted run cannot be resumed, though nothing is lost. A
paused run keeps its task slots: leave one for this DAG, or use the command line (`medferry pause`).

**Example conf**, of the only run at work, or of one by the id that Airflow shows of its DAG run:

```json
{"action": "pause"}
```
```json
{"run": "manual__2026-11-22T20:00:00+00:00", "action": "pause"}
```

**When it is red**, the run is not known, is over, or is being aborted already; the log tells which.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import control_dag

for migration in drawn_migrations():
    control_dag(__doc__, migration)
