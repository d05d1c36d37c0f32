"""What Airflow must have, by the ids under which it is looked for: a pool, connections. Light: DAG files need them.

Where several migrations are served, each has connections of its own, whose ids end with its name.
"""

from __future__ import annotations

POOL = "medplum"
"""The Airflow pool whose slots bound the tasks that talk to Medplum at once."""

MEDPLUM = "medplum_default"
"""The connection id of Medplum."""

CAPTURE = "medferry_capture"
"""The connection id of the legacy database under an account that may write the journal of changes and the gates."""

LEGACY_WRITER = "medferry_legacy_writer"
"""The connection id of the legacy database under an account that may write what comes back from Medplum."""

PROBE = "medferry_probe_"
"""With a probe's name of gate.yaml, the connection id of a user of Medplum under the policy of a unit's users."""

STORE = "medferry_store"
"""The connection id of the protected store: its password is the key, or several, the newest last; its extras are what
the package of an object store is given."""

PEPPER = "medferry_pepper"
"""The connection id of the pepper: its password is the pepper, or several, the newest last."""

AIRFLOW = "medferry_airflow"
"""The connection id of this Airflow's own REST API, by an account that may change DAG runs: for notes."""

_OURS = {MEDPLUM, CAPTURE, LEGACY_WRITER, STORE, PEPPER}


def qualified(migration: str, word: str) -> str:
    """A DAG's id, or what else all of Airflow has once, of one of several migrations.

    Not parted by a point: that parts the id of a DAG from that of its run, and the names of metrics. Neither a
    migration nor a wave may have a hyphen in its name.
    """
    return f"{migration}-{word}"


def own_connection(migration: str, conn_id: str) -> str:
    """The id of a connection of one of several migrations; a plan may name its source so by itself.

    Those above have the name added in any case: `medplum_default` is not that of a migration `default`.
    """
    end = f"_{migration}"
    return conn_id if conn_id.endswith(end) and conn_id not in _OURS else f"{conn_id}{end}"
