"""The grants of the reading account: each table that an entity or a check reads, and nothing that writes."""

from __future__ import annotations

from dataclasses import replace

from medferry.definition.gate import GateRules
from medferry.definition.grants import reader_grants
from medferry.definition.migration import load_migration
from tests.tiny_platform import MIGRATION


def test_each_table_is_granted_to_be_read_and_nothing_else() -> None:
    tables = ("clinic", "patient", "staff", "weight")
    tiny = load_migration(MIGRATION)
    wanted = [f"GRANT SELECT ON {table} TO the_reading_account" for table in tables]
    for dialect in ("postgresql", "mysql", "mariadb"):
        assert reader_grants(tiny, dialect) == wanted
    assert reader_grants(tiny, "mssql") == [*wanted, "GRANT VIEW DEFINITION TO the_reading_account"]
    assert reader_grants(tiny, "sqlite") == [], "a file has no accounts"


def test_tables_that_only_a_check_reads_are_there() -> None:
    clinics = load_migration("clinics")
    alone = clinics.checks.entities["patient"].model_copy(
        update={"tables": "patients p JOIN only_here o ON o.id = p.id"}
    )
    checks = replace(clinics.checks, entities={**clinics.checks.entities, "patient": alone})
    granted = reader_grants(replace(clinics, checks=checks), "postgresql")
    assert "GRANT SELECT ON only_here TO the_reading_account" in granted
    assert len(granted) == len(set(granted)) and all(line.startswith("GRANT SELECT ON ") for line in granted)


def test_where_rows_are_born_their_lines_are_read() -> None:
    clinics = load_migration("clinics")
    lines = "GRANT SELECT ON medferry_born TO the_reading_account"
    assert lines in reader_grants(clinics, "postgresql")
    none = {name: replace(inverse, births=None) for name, inverse in clinics.inverses.items()}
    assert lines not in reader_grants(replace(clinics, inverses=none), "postgresql")


def test_what_only_a_sub_query_of_a_check_or_a_trigger_reads_is_there() -> None:
    clinics = load_migration("clinics")
    checks = clinics.checks.entities["patient"]
    slot, resource = next(iter(checks.resources.items()))
    asked = resource.model_copy(
        update={
            "when": "p.id IN (SELECT id FROM of_when)",
            "checks": [one.model_copy(update={"sql": "(SELECT max(q.x) FROM of_sql q)"}) for one in resource.checks],
        }
    )
    changed = checks.model_copy(update={"resources": {**checks.resources, slot: asked}})
    declared = replace(clinics.checks, entities={**clinics.checks.entities, "patient": changed})
    gate = GateRules(tables={"of_gate": "SELECT u.unit FROM of_unit u WHERE u.id = {row}.id", "patients": "id"})
    granted = reader_grants(replace(clinics, checks=declared, gate=gate), "postgresql")
    for table in ("of_when", "of_sql", "of_gate", "of_unit"):
        assert f"GRANT SELECT ON {table} TO the_reading_account" in granted
    assert len(granted) == len(set(granted))


def test_a_name_that_needs_quotes_has_them() -> None:
    tiny = load_migration(MIGRATION)
    sql = 'SELECT v.id, v.unit FROM "Visit note" v JOIN clinic.Patient p ON p.id = v.id JOIN "order" o ON o.id = v.id'
    entity = replace(tiny.entities["weight"], sql=sql, variants={"mysql": sql.replace('"', "`")})
    granted = reader_grants(replace(tiny, entities={**tiny.entities, "weight": entity}), "postgresql")
    for table in ('"Visit note"', "clinic.patient", '"order"'):
        assert f"GRANT SELECT ON {table} TO the_reading_account" in granted
    granted = reader_grants(replace(tiny, entities={**tiny.entities, "weight": entity}), "mariadb")
    for table in ("`Visit note`", "clinic.`Patient`", "`order`"):
        assert f"GRANT SELECT ON {table} TO the_reading_account" in granted
