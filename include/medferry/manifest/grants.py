"""Roles of PostgreSQL for the manifest: one to work, one to decide, one to read; and what no role may change. Pure.

Who works cannot decide, and who decides cannot work. Evidence is appended to: triggers hold even the owner to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from medferry.manifest.decisions import BY_PLAN
from medferry.manifest.tables import check, decision, metadata, run, verification
from medferry.manifest.tables_of_audit import audit
from medferry.manifest.tables_of_conflicts import conflict

WORK, DECIDE, READ = "medferry_work", "medferry_decide", "medferry_read"

_NOTES = ("announced", "rehearsal", "side-effect")
"""Subjects of lines among the decisions that say what was done, and not what a person decides."""

_WORKS = {
    "INSERT": "attempt audit decision",
    "INSERT, UPDATE": "checkpoint conflict cutover cutover_act entity_key exception feed former_target "
    "identifier_owner leftover_act purge run sent_batch slice staged_file sweep unit_stage unit_state upload",
    "INSERT, DELETE": "chart check_result coverage difference finding held_back period_account verified_part",
    "INSERT, UPDATE, DELETE": "birth home lease outcome policy_gate set_aside source_unit target verification "
    "write_back",
}
"""What who works may do with each table: what the statements on it need, and a test holds it to that."""

_FOLLOWS = {run: ("status", "finished_at"), conflict: ("state", "changed_at")}
"""What follows from a decision, and is written with it."""

_KEPT = """\
CREATE OR REPLACE FUNCTION medferry_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'medferry: % on % is refused: it is only appended to', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE OR REPLACE FUNCTION medferry_kept_when_finished() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rows jsonb[] := CASE TG_OP WHEN 'INSERT' THEN ARRAY[to_jsonb(NEW)] WHEN 'DELETE' THEN ARRAY[to_jsonb(OLD)]
                               ELSE ARRAY[to_jsonb(OLD), to_jsonb(NEW)] END;
    one jsonb;
    kept boolean;
BEGIN
    FOREACH one IN ARRAY rows LOOP
        -- By the schema's name: a temporary table of the same name must not answer in its place.
        EXECUTE format('SELECT EXISTS (SELECT FROM %1$I.verification WHERE id = $1 AND finished_at IS NOT NULL)'
            ' AND NOT ($2 AND EXISTS (SELECT FROM %1$I.audit WHERE act = ''replaced''
                                      AND subject = ''verification/'' || $1))', TG_TABLE_SCHEMA)
            INTO kept USING (one ->> TG_ARGV[0])::integer, TG_OP = 'DELETE';
        IF kept THEN
            RAISE EXCEPTION 'medferry: % on % is refused: its verification has finished', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;"""


def roles_sql() -> str:
    """Statements for psql, as the owner of the manifest's tables who may make roles; they may be run again and again.

    Of a table that a later revision makes nobody has a right before that.
    """
    parts = ["BEGIN;", *_roles(), *_rights(), *_decisions_by(), _KEPT, *_triggers(), "COMMIT;"]
    return "\n".join(parts) + "\n"


def _roles() -> Iterator[str]:
    for role in (WORK, DECIDE, READ):
        made = f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;"
        enters = f"EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', current_schema());"
        connects = f"EXECUTE format('GRANT CONNECT ON DATABASE %I TO {role}', current_database());"
        yield f"DO $$ BEGIN {made} {enters} {connects} END $$;"


def _rights() -> Iterator[str]:
    """What was granted before is taken back first, so that no right outlives the program that asked for it."""
    yield f"GRANT SELECT ON alembic_version TO {WORK}, {DECIDE}, {READ};"
    works = {name: rights for rights, names in _WORKS.items() for name in names.split()}
    for table in map(metadata.tables.__getitem__, works):  # a module that was not imported is an error, not a gap
        yield f"REVOKE ALL ON {table.name} FROM {WORK}, {DECIDE}, {READ};"
        yield f"GRANT SELECT ON {table.name} TO {WORK}, {DECIDE}, {READ};"
        appended = table in (audit, decision)
        yield f"GRANT {works[table.name]} ON {table.name} TO {WORK};"
        if appended:
            yield f"GRANT INSERT ON {table.name} TO {DECIDE};"
        if table in _FOLLOWS:
            yield f"GRANT UPDATE ({', '.join(_FOLLOWS[table])}) ON {table.name} TO {DECIDE};"
        if table.autoincrement_column is not None and table.autoincrement_column.autoincrement is True:
            numbers = f"pg_get_serial_sequence('{table.name}', '{table.autoincrement_column.name}')"
            to = f"{WORK}, {DECIDE}" if appended else WORK
            yield f"DO $$ BEGIN EXECUTE format('GRANT USAGE ON SEQUENCE %s TO {to}', {numbers}); END $$;"


def _decisions_by() -> Iterator[str]:
    """Who works may note what the plan decides about a conflict, what he has done, and that everything is to stop."""
    noted = "|".join(_NOTES)
    works = (
        f"subject ~ '^({noted})/' OR (subject LIKE 'conflict/%' AND person = '{BY_PLAN}')"
        " OR (subject LIKE 'panic/%' AND verdict = 'held')"
    )
    yield f"ALTER TABLE {decision.name} ENABLE ROW LEVEL SECURITY;"
    for name, rule in {
        "medferry_seen": "FOR SELECT USING (true)",
        "medferry_decided": f"FOR INSERT TO {DECIDE} WITH CHECK (true)",
        "medferry_noted": f"FOR INSERT TO {WORK} WITH CHECK ({works})",
    }.items():
        yield f"DROP POLICY IF EXISTS {name} ON {decision.name};"
        yield f"CREATE POLICY {name} ON {decision.name} {rule};"


def _triggers() -> Iterator[str]:
    for table in (audit, decision):
        yield _trigger(table.name, "medferry_kept", "UPDATE OR DELETE OR TRUNCATE", "STATEMENT", "medferry_kept()")
    finished = "medferry_kept_when_finished"
    for table, column in ((verification, "id"), (check, "verification_id")):
        events = "UPDATE OR DELETE" if table is verification else "INSERT OR UPDATE OR DELETE"
        yield _trigger(table.name, finished, events, "ROW", f"{finished}('{column}')")
        yield _trigger(table.name, "medferry_kept", "TRUNCATE", "STATEMENT", "medferry_kept()")


def _trigger(table: str, name: str, events: str, each: str, function: str) -> str:
    return (
        f"DROP TRIGGER IF EXISTS {name} ON {table};\n"
        f"CREATE TRIGGER {name} BEFORE {events} ON {table} FOR EACH {each} EXECUTE FUNCTION {function};"
    )
