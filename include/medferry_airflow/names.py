"""What Airflow must have, by the ids under which it is looked for: a pool, connections. Light: DAG files need them."""

from __future__ import annotations

POOL = "medplum"
"""The Airflow pool whose slots bound the tasks that talk to Medplum at once."""

MEDPLUM = "medplum_default"
"""The connection id of Medplum."""

LEGACY_WRITER = "medferry_legacy_writer"
"""The connection id of the legacy database under an account that may write what comes back from Medplum."""

PROBE = "medferry_probe_"
"""With a probe's name of gate.yaml, the connection id of a user of Medplum under the policy of a unit's users."""

STORE = "medferry_store"
"""The connection id of the protected store: its password is the key, or several, the newest last; its extras are what
the package of an object store is given."""

AIRFLOW = "medferry_airflow"
"""The connection id of this Airflow's own REST API, by an account that may change DAG runs: for notes."""
