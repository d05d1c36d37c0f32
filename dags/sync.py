"""
## Keep a wave in step with the legacy database

Takes what changed in the legacy database since the last cut of the journal, reads those rows again, and creates or
updates their resources in Medplum. Rows that waited for others are taken along. A cut without a change asks Medplum
nothing. It exists for each wave whose plan says `sync`; the wave must be loaded and swept once (`medferry sweep`).

Where the plan says `reverse`, a second task then writes what users changed in Medplum into the legacy database, by the
account of the connection `medferry_legacy_writer`; what it cannot write is held back (`medferry sync status`).

**It changes** Medplum, the manifest, and the journal's heartbeat in the legacy database; with `reverse` also rows of
entities that have an inverse. It deletes nothing in Medplum.

**Do not trigger it** while the wave is being loaded: it would wait for the leases. A manual run takes the next cut.

**Position decides, time labels.** The first run of an interval takes the next cut; a cleared one repeats the cuts that
it has made, with the rows as they are now; one of an interval that was passed over does nothing, as its changes were in
the next cut. So catching up, clearing and `airflow backfill create` all give the state of having run on time.

**Example conf**: it has none.

**When it is red**, the log's last line tells what to do. `CaptureBroken` and `PositionLost` want a complete sweep,
unless it says otherwise: `medferry sweep <wave>`; everything else goes on from the cut that was noted when the task is
cleared.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import sync_dag

for migration in drawn_migrations():
    for wave in migration.waves:
        if wave.sync is not None:
            sync_dag(wave, wave.sync, __doc__, migration)
