"""Every variable of the environment that Medferry reads: what it says, and what holds without it.

The reference of the settings is made of this, so the texts are Markdown, with links as seen from ``docs/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Variable(NamedTuple):
    """`says`: what its value is. `without`: what holds where it is not set.

    `own`: whether it names what no two migrations may have in common.
    """

    says: str
    without: str
    own: bool = False


_GATE = "a user of Medplum who [proves a unit closed](runbooks/gate.md#medplums-side)"
_REHEARSED = "that a cutover is [rehearsed](runbooks/cutover.md#rehearse-it) against"
_EVIDENCE = "[the evidence of a wave](runbooks/retire.md)"

VARIABLES: Mapping[str, Variable] = {
    "MEDFERRY_MIGRATION": Variable(
        "the migration: a folder, or a name under `include/migrations`; "
        "[several](runbooks/several_migrations.md), parted by commas",
        "`clinics`",
    ),
    "MEDFERRY_SOURCE_URL": Variable(
        "SQLAlchemy URL of the legacy database, with an account that may read", "nothing is read", own=True
    ),
    "MEDFERRY_CAPTURE_URL": Variable(
        "the same, with an account that may write the journal of changes", "the source's", own=True
    ),
    "MEDFERRY_LEGACY_WRITER_URL": Variable(
        "the same, with an account that may write what users change in Medplum", "nothing is written back", own=True
    ),
    "MEDFERRY_MEDPLUM_BASE_URL": Variable("Medplum's address", "nothing is loaded"),
    "MEDFERRY_MEDPLUM_CLIENT_ID": Variable("id of the client application", "nothing is loaded", own=True),
    "MEDFERRY_MEDPLUM_CLIENT_SECRET": Variable("its secret", "nothing is loaded", own=True),
    "MEDFERRY_MEDPLUM_CA": Variable(
        "the authority of Medplum's certificate ([how](runbooks/tls.md))", "the usual ones"
    ),
    "MEDFERRY_MEDPLUM_CERTIFICATE": Variable("Medferry's own certificate, where Medplum wants one", "none"),
    "MEDFERRY_MEDPLUM_CERTIFICATE_KEY": Variable("its key, where the file of the certificate does not hold it", "none"),
    "MEDFERRY_PLAIN_HTTP": Variable(
        "hosts of Medplum that may be reached without TLS, parted by commas", "this machine alone"
    ),
    "MEDFERRY_MANIFEST_URL": Variable(
        "SQLAlchemy URL of the manifest; in Airflow none but an absolute one is taken", "a SQLite file in `build`"
    ),
    "MEDFERRY_DECISION_URL": Variable(
        "the same, with the [role that decides](runbooks/roles.md); the same server and database", "the manifest's"
    ),
    "MEDFERRY_STAGING_URL": Variable(
        "folder or [object storage](runbooks/scale_out.md) for staged rows and Bundles; in Airflow no relative one is "
        "taken",
        "`build/staging`",
    ),
    "MEDFERRY_STORE_OPTIONS": Variable(
        "what the package of the object storage is given, as a JSON object "
        "([which](runbooks/scale_out.md#tell-where-the-store-is))",
        "what it finds by itself",
    ),
    "MEDFERRY_STORE_KEY_FILE": Variable(
        "a file with the key that encrypts them ([how](runbooks/store.md))", "plain text"
    ),
    "MEDFERRY_STORE_KEY_COMMAND": Variable("a command that prints it", "plain text"),
    "MEDFERRY_PEPPER_FILE": Variable(
        "a file with the pepper that protects the manifest's hashes ([how](runbooks/pepper.md))", "hashes can be tried"
    ),
    "MEDFERRY_PEPPER_COMMAND": Variable("a command that prints it", "hashes can be tried"),
    "MEDFERRY_SHOW_KEYS": Variable("`digest`: reports, lists and logs show digests of source keys", "`plain`"),
    "MEDFERRY_PLAIN_STAGING": Variable("`yes`: stage without a key for a Medplum that is not on this machine", "`no`"),
    "MEDFERRY_SETTLE_SECONDS": Variable("how long a batch that got no answer may be at work in Medplum", "600"),
    "MEDFERRY_PROBE_<NAME>_CLIENT_ID": Variable(f"id of {_GATE}", "none", own=True),
    "MEDFERRY_PROBE_<NAME>_CLIENT_SECRET": Variable("its secret", "none", own=True),
    "MEDFERRY_ROUTING_FILE": Variable(
        "where the [routing](runbooks/routing.md) is published: a file on a disk, which one rename replaces",
        "nowhere",
        own=True,
    ),
    "MEDFERRY_ROUTING_WEBHOOK": Variable("a URL that is told when it changes", "none"),
    "MEDFERRY_ROUTING_WEBHOOK_SECRET": Variable("what signs that", "not signed"),
    "MEDFERRY_EVIDENCE_KEY_FILE": Variable(f"a file with the key that signs {_EVIDENCE}", "not signed"),
    "MEDFERRY_EVIDENCE_KEY_COMMAND": Variable("a command that prints it", "not signed"),
    "MEDFERRY_REHEARSAL_MEDPLUM_BASE_URL": Variable(f"address of the Medplum {_REHEARSED}", "no rehearsal"),
    "MEDFERRY_REHEARSAL_MEDPLUM_CLIENT_ID": Variable("id of its client application", "no rehearsal"),
    "MEDFERRY_REHEARSAL_MEDPLUM_CLIENT_SECRET": Variable("its secret", "no rehearsal"),
    "MEDFERRY_REHEARSAL_MANIFEST_URL": Variable("the rehearsal's manifest", "no rehearsal"),
    "MEDFERRY_REHEARSAL_STAGING_URL": Variable("the rehearsal's staging area", "no rehearsal"),
    "MEDFERRY_SMTP_URL": Variable("the mail server of `medferry announce`", "no mail is sent"),
    "MEDFERRY_SMTP_FROM": Variable("who the mail is from", "no mail is sent"),
    "MEDFERRY_REPORT_FOLDER": Variable(
        "where Airflow's tasks put reports: a folder or object storage", "`build/reports`"
    ),
    "MEDFERRY_EVIDENCE_FOLDER": Variable(
        f"where the DAG `retire_<wave>` puts {_EVIDENCE}: a folder or object storage", "`build/evidence`"
    ),
    "MEDFERRY_VERIFY_SCHEDULE": Variable(
        "cron expression (UTC) of the DAG `verify`; `off`: never",
        "`0 3 * * *` where the plan keeps a wave in step, else off",
    ),
}
