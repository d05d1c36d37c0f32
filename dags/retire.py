"""
## Take down a wave that is over

`look` tells what would be removed, and is red with the list where the wave is not over; `approve` asks those whom the
plan lets approve (`approves: [retire]`), with that text in the form; `retire` asks every condition again, removes, and
writes the signed evidence to `MEDFERRY_EVIDENCE_FOLDER` (build/evidence).

**It changes**: the staged files of the wave go, with the last wave the journal and its triggers in the legacy database,
too; the manifest notes it. It deletes nothing in Medplum and no legacy table. **There is no way back afterwards**:
`rollback_<wave>` refuses.

**Do not trigger it** while anybody might want the wave back, or without a key that signs the evidence
(`MEDFERRY_EVIDENCE_KEY_FILE` or `…_COMMAND`) on Airflow's workers: it fails with what is missing, before people are
asked.

**Example conf**: it has none.

**When it is red** at `look` or `approve`, nothing was removed: settle what the log names, then trigger it anew. At
`retire`, what was begun goes on when it is cleared.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.moving import retirement_dag

for migration in drawn_migrations():
    for wave in migration.moving_waves:
        retirement_dag(wave, __doc__, migration)
