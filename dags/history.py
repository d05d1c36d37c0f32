"""
## Load a wave by periods, the newest first

For a wave that is too large for one run. Each run loads one month (or year): the records of the wave's units that are
dated in it. What has no date comes with the first run, so that patients are there before their charts; the oldest
period takes what is older or undated, the newest what is newer. It exists for each wave whose plan says `history`.

**It never runs by itself.** An operator begins it:

```
airflow backfill create --dag-id history_<wave> --from-date 2010-01-01 --to-date 2026-10-31 \
  --run-backwards --max-active-runs 1
```

**It changes** Medplum and the manifest, as the wave's own DAG does, for the period's records alone.

**Do not trigger it** without `--max-active-runs 1`: runs of the same units hold each other up by their leases; nor
beside another run of these units. A manual run is refused, as it has no period.

**Example conf**, a rehearsal that writes nothing: `--dag-run-conf '{"dry_run": true}'`

**When it is red**, open the failed task's log: the last line tells what to do. The other periods go on. When the cause
is removed, **clear the whole run** of the period, all of its tasks: it goes on where it stopped, or, when others have
begun since, is loaded anew; nothing is written twice. In the end trigger the wave's own DAG: it finds nothing to do but
what has come since, and proves the whole.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import history_dag

for migration in drawn_migrations():
    for wave in migration.waves:
        if wave.history is not None:
            history_dag(wave, wave.history, __doc__, migration)
