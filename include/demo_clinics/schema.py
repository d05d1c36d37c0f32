"""The 22 tables of the demo's legacy system, for PostgreSQL, MariaDB/MySQL and SQLite. Meanings: README.md."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Date, DateTime, Integer, LargeBinary, MetaData, Numeric, String, Table, Text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.types import TypeEngine

METADATA = MetaData()

# Plain seconds on SQLite as on the servers: its default would print ".000000" after every time.
TIMESTAMP: TypeEngine[datetime] = DateTime().with_variant(
    sqlite.DATETIME(truncate_microseconds=True),  # type: ignore[no-untyped-call]
    "sqlite",
)
# A legacy note outgrows the 64 KiB of MySQL's TEXT.
LONG_TEXT: TypeEngine[str] = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

ENTITIES: dict[str, tuple[str, str]] = {
    "organization": ("organizations", "org_id"),
    "clinic": ("clinics", "clinic_id"),
    "location": ("locations", "location_id"),
    "staff": ("staff", "staff_id"),
    "assignment": ("staff_clinics", "assignment_id"),
    "patient": ("patients", "patient_id"),
    "coverage": ("insurance_policies", "policy_id"),
    "appointment": ("appointments", "appointment_id"),
    "encounter": ("encounters", "encounter_id"),
    "vitals": ("vitals", "vitals_id"),
    "lab_result": ("lab_results", "result_id"),
    "lab_order": ("lab_orders", "order_id"),
    "problem": ("problems", "problem_id"),
    "allergy": ("allergies", "allergy_id"),
    "prescription": ("prescriptions", "prescription_id"),
    "immunization": ("immunizations", "immunization_id"),
    "note": ("notes", "note_id"),
    "document": ("documents", "document_id"),
}
"""Entity → (table, key column), in an order in which a row only references rows of entities before it or its own."""

SHARED = "shared"
"""The unit of what belongs to several clinics."""


def _text(name: str, size: int = 0, required: bool = False, index: bool = False) -> Column[str]:
    return Column(name, String(size) if size else LONG_TEXT, nullable=not required, index=index)


def _integer(name: str, required: bool = False, index: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=not required, index=index)


def _number(name: str, digits: int = 7) -> Column[float]:
    return Column(name, Numeric(digits, 2, asdecimal=False))


def _time(name: str, required: bool = False) -> Column[datetime]:
    return Column(name, TIMESTAMP, nullable=not required)


def _table(name: str, key: Column[Any], *columns: Column[Any]) -> Table:
    key.primary_key, key.nullable, key.autoincrement = True, False, "auto"
    return Table(name, METADATA, key, *columns, _time("updated_at", required=True), _time("deleted_at"))


def _clinic() -> Column[str]:
    return _text("clinic_id", 20, required=True, index=True)


def _patient() -> Column[int]:
    return _integer("patient_id", required=True, index=True)


_table("organizations", _integer("org_id"), _text("name", 120, required=True), _text("npi", 10), _text("phone", 40),
       _text("address_line", 120), _text("city", 80), _text("state", 2), _text("postal_code", 10))  # fmt: skip
_table("clinics", _text("clinic_id", 20), _integer("org_id", required=True), _text("name", 120, required=True),
       _text("npi", 10), _text("phone", 40), _text("address_line", 120), _text("city", 80), _text("state", 2),
       _text("postal_code", 10), _text("time_zone", 40, required=True), Column("opened_on", Date))  # fmt: skip
_table(
    "locations",
    _integer("location_id"),
    _clinic(),
    _integer("parent_location_id"),
    _text("name", 80, required=True),
    _text("kind_code", 10, required=True),
    _text("status_code", 4, required=True),
)
_table(
    "staff",
    _integer("staff_id"),
    _text("staff_no", 12, required=True),
    _text("npi", 10),
    _text("family_name", 80, required=True),
    _text("given_name", 80, required=True),
    _text("credential_code", 10),
    _text("sex_code", 4),
    _text("email", 120),
    _text("phone", 40),
    _text("active_flag", 1, required=True),
)
_table("staff_clinics", _integer("assignment_id"), _integer("staff_id", required=True, index=True), _clinic(),
       _text("role_code", 10, required=True), _text("specialty_code", 10), Column("start_on", Date),
       Column("end_on", Date))  # fmt: skip
_table("patients", _integer("patient_id"), _text("mrn", 20, required=True),
       _text("home_clinic_id", 20, required=True, index=True), _integer("pcp_staff_id"), _text("family_name"),
       _text("given_name", 80), _text("middle_name", 80), _text("suffix", 10), _text("birth_date", 10),
       _text("sex_code", 4), Column("deceased_on", Date), _text("marital_code", 4), _text("language_code", 8),
       _text("email", 120), _integer("merged_into"), _text("test_flag", 1, required=True))  # fmt: skip
_table("patient_addresses", _integer("address_id"), _patient(), _text("kind_code", 2, required=True),
       _text("is_primary", 1, required=True), _text("line1", 120), _text("line2", 120), _text("city", 80),
       _text("state", 2), _text("postal_code", 10))  # fmt: skip
_table("patient_phones", _integer("phone_id"), _patient(), _text("kind_code", 2, required=True),
       _text("number", 40, required=True))  # fmt: skip
_table("patient_identifiers", _integer("identifier_id"), _patient(), _text("type_code", 4, required=True),
       _text("value", 40, required=True))  # fmt: skip
_table("clinic_registrations", _integer("registration_id"), _patient(), _clinic(), Column("registered_on", Date),
       _text("status_code", 2, required=True))  # fmt: skip
_table("insurance_policies", _integer("policy_id"), _patient(), _clinic(), _text("payer_code", 10),
       _text("payer_name", 120), _text("member_no", 40), _text("group_no", 40), _text("relationship_code", 4),
       _integer("priority"), Column("start_on", Date), Column("end_on", Date),
       _text("status_code", 20, required=True))  # fmt: skip
_table("appointments", _integer("appointment_id"), _patient(), _clinic(), _integer("staff_id"), _integer("location_id"),
       _time("starts_at", required=True), _integer("minutes"), _text("status_code", 40, required=True),
       _text("type_code", 40), _text("reason_text", 200))  # fmt: skip
_table("encounters", _integer("encounter_id"), _patient(), _clinic(), _integer("staff_id"), _integer("location_id"),
       _integer("appointment_id"), _text("class_code", 10, required=True), _text("status_code", 10, required=True),
       _time("started_at", required=True), _time("ended_at"), _text("reason_text", 200))  # fmt: skip
_table("vitals", _integer("vitals_id"), _patient(), _clinic(), _integer("encounter_id"), _integer("staff_id"),
       _time("taken_at", required=True), _number("weight"), _text("weight_unit", 10), _number("height"),
       _text("height_unit", 10), _integer("systolic"), _integer("diastolic"), _integer("heart_rate"),
       _number("temperature", 5), _text("temperature_unit", 10), _integer("spo2"))  # fmt: skip
_table("lab_orders", _integer("order_id"), _patient(), _clinic(), _integer("encounter_id"), _integer("staff_id"),
       _text("panel_code", 10, required=True), _text("accession_no", 20), _time("ordered_at", required=True),
       _time("collected_at"), _time("reported_at"), _text("status_code", 10, required=True))  # fmt: skip
_table(
    "lab_results",
    _integer("result_id"),
    _integer("order_id", required=True, index=True),
    _patient(),
    _clinic(),
    _integer("encounter_id"),
    _text("test_code", 10, required=True),
    _text("result_text", 200),
    _text("unit_text", 20),
    _text("ref_low", 20),
    _text("ref_high", 20),
    _text("abnormal_flag", 4),
    _time("collected_at"),
    _text("status_code", 10, required=True),
)
_table("problems", _integer("problem_id"), _patient(), _clinic(), _integer("staff_id"), _text("problem_code", 10),
       _text("problem_text", 200), _text("onset_date", 10), Column("resolved_on", Date),
       _time("recorded_at", required=True), _text("status_code", 4, required=True))  # fmt: skip
_table(
    "allergies",
    _integer("allergy_id"),
    _patient(),
    _clinic(),
    _integer("staff_id"),
    _text("substance_code", 10),
    _text("substance_text", 200),
    _text("kind_code", 4),
    _text("severity_code", 4),
    _text("reaction_text", 200),
    _text("onset_date", 10),
    _time("recorded_at", required=True),
    _text("status_code", 4, required=True),
)
_table("prescriptions", _integer("prescription_id"), _patient(), _clinic(), _integer("staff_id"),
       _integer("encounter_id"), _text("drug_code", 10), _text("drug_text", 200), _text("sig_text", 400),
       _number("quantity", 9), _integer("refills"), _time("written_at", required=True),
       _text("status_code", 4, required=True))  # fmt: skip
_table(
    "immunizations",
    _integer("immunization_id"),
    _patient(),
    _clinic(),
    _integer("staff_id"),
    _integer("encounter_id"),
    _text("vaccine_code", 10, required=True),
    Column("given_on", Date),
    _text("lot_no", 40),
    _text("site_code", 4),
    _text("status_code", 4, required=True),
)
_table("notes", _integer("note_id"), _patient(), _clinic(), _integer("staff_id"), _integer("encounter_id"),
       _text("kind_code", 10, required=True), _time("written_at", required=True), _text("title", 200), _text("body"),
       _text("status_code", 4, required=True))  # fmt: skip
_table("documents", _text("document_id", 36), _patient(), _clinic(), _integer("encounter_id"),
       _text("kind_code", 10, required=True), _time("received_at", required=True),
       _text("mime_type", 80, required=True), _text("file_name", 200), Column("content", LargeBinary))  # fmt: skip
