"""The manifest's tables, without patient data: keys, ids, hashes, reasons and counts only.

Alembic's revisions in ``revisions/`` build them; a test keeps the two equal. Times are sortable ISO 8601 text in UTC.
"""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.hashes import ContentHash

metadata = sa.MetaData()

Time = sa.String(24)

Key = sa.String(200).with_variant(sa.String(1_000), "postgresql")
"""At most MAX_KEY_BYTES of ``source.keys``. SQLite holds nobody to a length, and would copy the table for another."""
_Subject = sa.String(500).with_variant(sa.String(1_300), "postgresql")
_Kind = sa.String(40).with_variant(sa.String(60), "postgresql")
_DEAD = sa.text("disposition IN ('rejected', 'quarantined')")

run = sa.Table(
    "run",
    metadata,
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(60), nullable=False, comment="big_bang, wave_<id>, replay …"),
    sa.Column("status", sa.String(20), nullable=False, comment="running, succeeded, failed, aborted"),
    sa.Column("units", sa.JSON, nullable=False),
    sa.Column("entities", sa.JSON, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False, comment="SHA-256 of the migration's files"),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("finished_at", Time),
    sa.Column("control", sa.String(10), nullable=False, server_default="", comment="an operator's: pause, abort"),
    sa.Column("replays", sa.String(200), nullable=False, server_default="", comment="the run whose dead letters"),
    sa.Index("run_newest", "migration", "started_at", "id"),
)

slice_ = sa.Table(
    "slice",
    metadata,
    sa.Column("run_id", sa.ForeignKey("run.id"), primary_key=True),
    sa.Column("id", sa.String(60), primary_key=True),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("units", sa.JSON, nullable=False),
    sa.Column("low", sa.JSON, nullable=False),
    sa.Column("high", sa.JSON, nullable=False),
    sa.Column("keys", sa.JSON, nullable=False, comment="of a replay: exactly these source keys; else null"),
    sa.Column("eligible", sa.Integer, nullable=False, comment="rows counted when the run was prepared"),
    sa.Column("stage", sa.String(20), nullable=False, comment="planned, extracted, transformed, loaded"),
    sa.Column("bundles", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.Integer, nullable=False, server_default="0", comment="grows with each worker that takes it"),
)

source_record = sa.Table(
    "source_unit",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("unit", sa.String(64), nullable=False),
    sa.Column("slice_id", sa.String(60), nullable=False),
    sa.Column("disposition", sa.String(12), nullable=False),
    sa.Column("reason", sa.String(60), nullable=False, server_default=""),
    sa.Column("field", sa.String(128), nullable=False, server_default=""),
    sa.Column("place", sa.String(500), nullable=False, server_default="", comment="code or FHIR path, no data"),
    sa.Column("mapping_version", sa.String(40), nullable=False),
    sa.Column("source_digest", ContentHash, nullable=False, server_default="", comment="SHA-256 of the row as read"),
    sa.Column("fingerprint", sa.String(64), nullable=False, server_default="", comment="of what mapped it"),
    sa.Index("source_unit_slice", "run_id", "slice_id", "disposition"),
    sa.Index("source_unit_key", "entity", "key"),
    sa.Index("source_unit_dead", "run_id", "entity", "key", sqlite_where=_DEAD, postgresql_where=_DEAD),
)

unit_state = sa.Table(
    "unit_state",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("unit", sa.String(64), nullable=False),
    sa.Column("disposition", sa.String(12), nullable=False),
    sa.Column("reason", sa.String(60), nullable=False),
    sa.Column("source_digest", ContentHash, nullable=False, comment="SHA-256 of the row as read; empty: unknown"),
    sa.Column("mapping_version", sa.String(40), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False, comment="of what mapped it: its own, else the run's"),
    sa.Column("run_id", sa.String(200), nullable=False, comment="the run that decided last; never a dry run"),
    sa.Column("decided_at", Time, nullable=False),
    sa.Index("unit_state_disposition", "migration", "entity", "disposition"),
    sa.Index("unit_state_unit", "migration", "unit", "entity", "key"),
    sqlite_with_rowid=False,
    comment="what is true of each source record now, whichever run decided it",
)

finding = sa.Table(
    "finding",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("reason", sa.String(60), primary_key=True),
    sa.Column("field", sa.String(128), primary_key=True),
)

target = sa.Table(
    "target",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("system", sa.String(300), primary_key=True),
    sa.Column("value", Key, primary_key=True),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("resource_type", sa.String(40), nullable=False),
    sa.Column("medplum_id", sa.String(64), nullable=False),
    sa.Column("version_id", sa.String(64), nullable=False),
    sa.Column("content_hash", ContentHash, nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False, comment="the run that last wrote or confirmed it"),
    sa.Column("wanted_hash", ContentHash, comment="of what the mapping made; null: the same as content_hash"),
    sa.Index("target_entity", "migration", "entity"),
    comment="the crosswalk: source identifier to Medplum id and version",
)

outcome = sa.Table(
    "outcome",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("system", sa.String(300), primary_key=True),
    sa.Column("value", Key, primary_key=True),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("slice_id", sa.String(60), nullable=False),
    sa.Column("action", sa.String(12), nullable=False, comment="created, updated, unchanged"),
    sa.Index("outcome_slice", "run_id", "slice_id"),
    comment="what a run did to each target, once proven by read-back",
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("slice_id", sa.String(60), nullable=False),
    sa.Column("system", sa.String(300), nullable=False),
    sa.Column("value", Key, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("action", sa.String(12), nullable=False, comment="create, update"),
    sa.Column("status", sa.Integer, nullable=False, comment="HTTP status of the entry; 0 when no answer came"),
    sa.Column("reason", sa.String(500), nullable=False, server_default="", comment="issue code and path, no data"),
    sa.Index("attempt_target", "run_id", "system", "value"),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("scope", sa.String(120), primary_key=True, comment="<unit>/<entity>"),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("expires_at", Time, nullable=False),
)

verification = sa.Table(
    "verification",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("run_id", sa.String(200), comment="null: of a subject as it is now, not of a run"),
    sa.Column("subject", sa.JSON, nullable=False, comment="units, entities, keys by entity; what is empty means all"),
    sa.Column("sample_share", sa.Float, nullable=False, comment="share of the rows whose values were compared"),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("validate_all", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("fingerprint", sa.String(64), nullable=False, comment="SHA-256 of the migration's files then"),
    sa.Column("declared", sa.JSON, nullable=False, comment="SQL and FHIRPath of each entity's checks as they were run"),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("finished_at", Time, comment="null: it is at work, or it died; its results do not count yet"),
    sa.Column("state", sa.String(64), comment="of the subject's records when it began; null: an earlier version"),
    sa.Index("verification_run", "run_id", unique=True),
    sa.Index("verification_subject", "migration", "finished_at"),
    comment="the newest verification of each run, and every one of a subject",
)

verified_part = sa.Table(
    "verified_part",
    metadata,
    sa.Column("verification_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("part", sa.String(60), primary_key=True, comment="source/<entity>, stored/<entity>, run, all"),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("finished_at", Time, nullable=False),
    sa.Column("resources", sa.Integer, nullable=False, comment="read from Medplum"),
    sa.Column("points", sa.Integer, nullable=False, comment="of Medplum's quota"),
    comment="parts that a verification has finished: it goes on behind them",
)

check = sa.Table(
    "check_result",
    metadata,
    sa.Column("verification_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("part", sa.String(60), nullable=False),
    sa.Column("status", sa.String(20), nullable=False, comment="equal, different, could_not_check"),
    sa.Column("compared", sa.Integer, nullable=False),
    sa.Column("different", sa.Integer, nullable=False),
    sa.Column("unchecked", sa.Integer, nullable=False),
    sa.Column("examples", sa.JSON, nullable=False, comment="at most 20 identifiers or ids"),
    sa.Column("note", sa.String(500), nullable=False, comment="error bound of a sample, cause of what is unchecked"),
    sa.Column("checked_at", Time, nullable=False),
)

difference = sa.Table(
    "difference",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("verification_id", sa.Integer, nullable=False),
    sa.Column("part", sa.String(60), nullable=False),
    sa.Column("name", sa.String(80), nullable=False, comment="of the check"),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("key", Key, nullable=False, comment="source key, or what stands in its place"),
    sa.Column("field", sa.String(200), nullable=False, comment="column, element or unit; no data"),
    sa.Column("kind", _Kind, nullable=False, comment="missing, unexpected, different, precision …"),
    sa.Column("place", sa.String(120), nullable=False, comment="Type/id in Medplum"),
    sa.Index("difference_part", "verification_id", "part"),
    sa.Index("difference_key", "verification_id", "entity", "key"),
    comment="every single difference that a verification found",
)

period_account = sa.Table(
    "period_account",
    metadata,
    sa.Column("verification_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("unit", sa.String(64), primary_key=True),
    sa.Column("period", sa.String(10), primary_key=True, comment="year; empty: the row has none"),
    sa.Column("disposition", sa.String(12), primary_key=True, comment="of the manifest; missing: it has no line"),
    sa.Column("rows", sa.Integer, nullable=False, comment="rows of the legacy database, counted anew"),
    comment="what became of the legacy database's rows, by the verification's own reading",
)

exception_ = sa.Table(
    "exception",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(200), comment="null: of a verification that is of no run"),
    sa.Column("verification_id", sa.Integer, comment="null: of a run, whichever of its verifications found it"),
    sa.Column("family", sa.String(80), nullable=False, comment="of checks: all value checks of an entity are one"),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("category", sa.String(20), nullable=False),
    sa.Column("severity", sa.String(10), nullable=False, comment="critical, major, unknown: it could not be checked"),
    sa.Column("different", sa.Integer, nullable=False),
    sa.Column("unchecked", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of exactly what was found"),
    sa.Column("edition", sa.Integer, nullable=False, comment="grows when a verification finds something else"),
    sa.Column("found_at", Time, nullable=False),
    sa.Column("cleared_at", Time, comment="a later verification did not find it any more"),
    sa.UniqueConstraint("run_id", "family", "entity", name="exception_of"),
    sa.UniqueConstraint("verification_id", "family", "entity", name="exception_of_verification"),
    comment="what the verifications of a run, or one of a subject, found, for a person to decide",
)

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("subject", _Subject, nullable=False, comment="exception/<id>, chart/<run>/<entity>/<key>"),
    sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of exactly what was decided about"),
    sa.Column("person", sa.String(100), nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False, comment="open, accepted; agrees, differs"),
    sa.Column("note", sa.String(1000), nullable=False, comment="in words, without patient data"),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("due", sa.String(10), nullable=False, comment="day, or empty"),
    sa.Column("at", Time, nullable=False),
    sa.Index("decision_subject", "subject", "id"),
    comment="every decision ever made; the newest of a subject counts, if its digest is the present one",
)

chart = sa.Table(
    "chart",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("chosen", sa.String(100), nullable=False, comment="how it came into the sample: given, random, risk"),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("drawn_at", Time, nullable=False),
    comment="patients whose charts were drawn for review",
)
