"""
## Stop the writing of all waves

For when something is wrong and nobody knows yet what. Holds all writing, by name and reason: runs at work end after
the chunk that they have begun, synchronisations end, and nothing begins again until it is lifted. Units that are closed
and not flipped are opened in the legacy database.

**It changes** the manifest, and the gates of units that are frozen. A wave that is flipped stays flipped, with its
users at work in Medplum; what they write waits to be written back.

**Do not trigger it** to stop one run: that is the DAG `control`. Do not lift it before the cause is known.

**Example conf**:

```json
{"person": "Ada Brandt", "reason": "Charts of the pilot lack allergies."}
```

With `{"lift": true, …}` writing may begin again; nothing is started by itself.

**When it is red**, writing is held all the same, and the log tells what could not be done and what to do about it.
Clear it, or trigger it again: it may be said as often as you like. Where no slot is left, use `medferry panic`.
"""

from medferry_airflow.definition import drawn_migrations
from medferry_airflow.factory import panic_dag

for migration in drawn_migrations():
    panic_dag(__doc__, migration)
