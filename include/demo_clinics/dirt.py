"""Spoils records: one small function a kind of the catalogue."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from demo_clinics.catalogue import Kind
from demo_clinics.codes import TABLES
from demo_clinics.record import Record, at
from demo_clinics.schema import ENTITIES

ORPHAN_BASE = 900_000_000
"""Orphan keys are above every real one."""

GAP_DAYS = (date(2021, 3, 14), date(2022, 3, 13), date(2023, 3, 12), date(2024, 3, 10), date(2025, 3, 9))
OVERLAP_DAYS = (date(2021, 11, 7), date(2022, 11, 6), date(2023, 11, 5), date(2024, 11, 3), date(2025, 11, 2))
"""The clock changes in the United States: 02:00–03:00 is skipped, 01:00–02:00 is repeated."""

NextKey = Callable[[str], int]


def suits(kind: Kind, record: Record) -> bool:
    """True when the kind can be seen in this record."""
    test = _SUITS.get((kind.entity, kind.name))
    return test is None or bool(test(record.clean))


def spoil(record: Record, kind: Kind, next_key: NextKey, rng: Random) -> list[Record]:
    """Give `record` the kind, or a new record beside it for kinds that are rows of their own (see _EXTRA)."""
    if (kind.entity, kind.name) in _EXTRA:
        twin = _twin(record, next_key)
        twin.kind = kind
        _SPOIL[kind.entity, kind.name](twin, rng)
        return [twin]
    record.kind = kind
    if kind.name == "soft-deleted":
        _soft_delete(record, rng)
    elif kind.name.startswith("orphan-"):
        _orphan(record, kind)
    else:
        _SPOIL[kind.entity, kind.name](record, rng)
    return []


# -- general ---------------------------------------------------------------------------------------


def _twin(record: Record, next_key: NextKey) -> Record:
    key_column = ENTITIES[record.entity][1]
    key = next_key(record.entity)
    return Record(record.entity, key, record.unit, record.zone, dict(record.clean), dict(record.references),
                  {**record.row, key_column: key})  # fmt: skip


def _soft_delete(record: Record, rng: Random) -> None:
    deleted = record.row["updated_at"] + timedelta(minutes=rng.randrange(1, 5000))
    record.row["deleted_at"] = record.row["updated_at"] = deleted


_ORPHAN_COLUMNS = {
    "orphan-pcp": "pcp_staff_id", "orphan-staff": "staff_id", "orphan-patient": "patient_id",
    "orphan-encounter": "encounter_id", "orphan-appointment": "appointment_id",
}  # fmt: skip


def _orphan(record: Record, kind: Kind) -> None:
    key = record.key if isinstance(record.key, int) else int(record.key[:6], 16)
    record.row[_ORPHAN_COLUMNS[kind.name]] = ORPHAN_BASE + key


def _none(*columns: str, **stored: Any) -> Callable[[Record, Random], None]:
    """The resource holds none of these columns; the row holds what is stated."""

    def apply(record: Record, _rng: Random) -> None:
        record.row.update(stored)
        record.clean.update(dict.fromkeys(columns))

    return apply


def _store(**stored: Any) -> Callable[[Record, Random], None]:
    """Only the row changes: the record is not successful, or the meaning is the same."""
    return lambda record, _rng: record.row.update(stored)


def _choose(column: str, *values: Any, meaning: bool = False) -> Callable[[Record, Random], None]:
    """One of `values` is stored; with `meaning`, the resource then holds nothing of the column."""

    def apply(record: Record, rng: Random) -> None:
        record.row[column] = rng.choice(values)
        if meaning:
            record.clean[column] = None

    return apply


def _both(record: Record, **values: Any) -> None:
    """The row changes, and its meaning with it."""
    record.row.update(values)
    record.clean.update(values)


def _pad(*columns: str) -> Callable[[Record, Random], None]:
    return lambda record, _rng: record.row.update({c: f"{record.row[c]}   " for c in columns})


def _insert(column: str, *bad: str) -> Callable[[Record, Random], None]:
    """Put control characters between the letters; the meaning stays."""

    def apply(record: Record, _rng: Random) -> None:
        text = record.row[column]
        record.row[column] = text[:2] + bad[0] + text[2:] + "".join(bad[1:])

    return apply


def _time(column: str, days: tuple[date, ...], hour: int, minute: int) -> Callable[[Record, Random], None]:
    """Move a time of the row to a clock change."""

    def apply(record: Record, rng: Random) -> None:
        day = rng.choice(days)
        record.row[column] = at(day, hour, minute)

    return apply


def _lower(column: str, table: str) -> Callable[[Record, Random], None]:
    """A lower-case code with a blank; as a local coding it is what was typed."""

    def apply(record: Record, _rng: Random) -> None:
        assert record.row[column] in TABLES[table]
        record.row[column] = f"{record.row[column].lower()} "
        record.clean[f"typed_{column}"] = record.row[column].strip()

    return apply


# -- one entity's own ------------------------------------------------------------------------------


def _mojibake_name(record: Record, rng: Random) -> None:
    name = rng.choice(("García", "Gonçalves", "Núñez", "Müller", "Bélanger"))
    _both(record, family_name=name.encode().decode("cp1252"))


def _undecodable_name(record: Record, _rng: Random) -> None:
    record.row["family_name"] = "Mu\ufffdoz"


def _death_before_birth(record: Record, rng: Random) -> None:
    born = date.fromisoformat(record.clean["birth_date"])
    record.row["deceased_on"] = date(born.year - rng.randrange(2, 20), born.month, 15)


def _born_later(record: Record, rng: Random) -> None:
    year = record.row["updated_at"].year + rng.randrange(2, 60)
    record.row["birth_date"] = f"{year}{record.row['birth_date'][4:]}".replace("-02-29", "-02-28")


def _oversized_name(record: Record, rng: Random) -> None:
    # Random letters: a repeated one would compress, and the server's index would take it.
    record.row["family_name"] = "".join(rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", k=3000))


def _merged(record: Record, rng: Random) -> None:
    record.row["merged_into"] = rng.randrange(1, record.key) if isinstance(record.key, int) and record.key > 1 else 2


def _neighbour_appointment(record: Record, rng: Random) -> None:
    gap = rng.random() < 0.5
    day = rng.choice(GAP_DAYS if gap else OVERLAP_DAYS)
    hour, minute, minutes = (1, 30, 60) if gap else (2, 10, 20)
    start = at(day, hour, minute)
    _both(record, starts_at=start, minutes=minutes, status_code="N")
    _touch_after(record, start)


def _neighbour_encounter(record: Record, rng: Random) -> None:
    day = rng.choice(GAP_DAYS)
    started, ended = (at(day, hour, 20) for hour in (1, 3))
    _both(record, started_at=started, ended_at=ended, status_code="C")
    _touch_after(record, ended)


def _touch_after(record: Record, event: datetime) -> None:
    record.row["updated_at"] = max(record.row["updated_at"], event + timedelta(days=1))


def _encounter_time(days: tuple[date, ...], hour: int, minute: int) -> Callable[[Record, Random], None]:
    """Move the encounter to a clock change; it ends after it, at a time that is real."""

    def apply(record: Record, rng: Random) -> None:
        start = at(rng.choice(days), hour, minute)
        ended = start + timedelta(minutes=50) if record.row["ended_at"] else None
        record.row.update(started_at=start, ended_at=ended)

    return apply


def _reversed_period(record: Record, rng: Random) -> None:
    record.row["ended_at"] = record.row["started_at"] - timedelta(minutes=rng.randrange(20, 3000))


def _endless(record: Record, _rng: Random) -> None:
    record.row["ended_at"] = at(date(9999, 12, 31), 0)
    record.clean["ended_at"] = None


def _unit_variant(record: Record, _rng: Random) -> None:
    record.row["weight_unit"] = "LBS " if record.clean["weight_unit"] == "lb" else " Kg"
    record.clean["weight_unit"] = "lbs" if record.clean["weight_unit"] == "lb" else "kg"


_MEASURES = ("weight", "height", "systolic", "diastolic", "heart_rate", "temperature", "spo2")


def _comparator(record: Record, _rng: Random) -> None:
    text, flag = ("<0.1", "L") if record.clean["test_code"] == "TSH" else (">1000", "H")
    _both(record, result_text=text, abnormal_flag=flag)


def _si_value(record: Record, _rng: Random) -> None:
    factor = 18.0 if record.clean["test_code"] == "GLU" else 38.67
    record.row["result_text"] = f"{float(record.row['result_text']) / factor:.1f}"


def _free_problem(record: Record, rng: Random) -> None:
    text = rng.choice(
        ("trouble sleeping since spring", "high blood pressure?", "fell twice, no injury", "tired all the time")
    )
    _both(record, problem_code=None, problem_text=text)


def _partial_date(record: Record, rng: Random) -> None:
    _both(record, onset_date=record.row["onset_date"][: rng.choice((4, 7))])


def _bad_onset(record: Record, _rng: Random) -> None:
    record.row["onset_date"] = f"{record.row['onset_date'][:4]}-02-30"


def _resolved_before_onset(record: Record, _rng: Random) -> None:
    onset = date.fromisoformat(record.row["onset_date"])
    record.row.update(resolved_on=date(onset.year - 3, onset.month, 1), status_code="R")


def _free_allergy(record: Record, rng: Random) -> None:
    text = rng.choice(("cats, sneezes", "some antibiotic as a child", "red dye", "wool"))
    _both(record, substance_code=None, substance_text=text)


def _free_drug(record: Record, rng: Random) -> None:
    text = rng.choice(("cough syrup, patient's own", "eye drops as before", "vitamin B12 injection at home"))
    _both(record, drug_code=None, drug_text=text)


def _given_later(record: Record, rng: Random) -> None:
    record.row["given_on"] = date(record.row["updated_at"].year + rng.randrange(2, 10), 6, 1)


def _mojibake_body(record: Record, _rng: Random) -> None:
    _both(record, body=record.row["body"] + "\nThe patient’s family was told.".encode().decode("cp1252"))


def _undecodable_body(record: Record, _rng: Random) -> None:
    record.row["body"] += "\nTemp 38\ufffdC at home."


def _oversized_body(record: Record, rng: Random) -> None:
    line = f"Copied forward from the visit before: {record.row['body']} "
    record.row["body"] = line * (500_001 // len(line) + 1 + rng.randrange(20))


def _month_13(record: Record, rng: Random) -> None:
    year = record.row["birth_date"][:4]
    record.row["birth_date"] = rng.choice((f"{year}-02-30", f"{year}-13-05"))


_SPOIL: dict[tuple[str, str], Callable[[Record, Random], None]] = {
    ("staff", "null-token"): _none("npi", npi="N/A"),
    ("staff", "trailing-blanks"): _pad("staff_no", "family_name"),
    ("assignment", "sentinel-date"): _none("end_on", end_on=date(9999, 12, 31)),
    ("assignment", "orphan-staff"): lambda record, _rng: _orphan(record, record.kind),  # type: ignore[arg-type]
    ("assignment", "soft-deleted"): _soft_delete,
    ("patient", "trailing-blanks"): _pad("mrn", "family_name"),
    ("patient", "null-token"): _none("middle_name", "suffix", "email", middle_name="N/A", suffix="-", email=""),
    ("patient", "sentinel-birth-date"): _choose("birth_date", "1900-01-01", "0001-01-01", "0000-00-00", meaning=True),
    ("patient", "sentinel-death-date"): _none("deceased_on", deceased_on=date(9999, 12, 31)),
    ("patient", "code-variant"): _lower("sex_code", "sex"),
    ("patient", "control-characters"): _insert("given_name", "\x07", "\x1f"),
    ("patient", "mojibake"): _mojibake_name,
    ("patient", "placeholder-ssn"): _choose("ssn", "999-99-9999", "000-00-0000", meaning=True),
    ("patient", "impossible-birth-date"): _month_13,
    ("patient", "birth-after-death"): _death_before_birth,
    ("patient", "birth-in-future"): _born_later,
    ("patient", "unmapped-code"): _store(sex_code="9"),
    ("patient", "undecodable-text"): _undecodable_name,
    ("patient", "missing-name"): _store(family_name=None, given_name="N/A"),
    ("patient", "oversized-name"): _oversized_name,
    ("patient", "test-record"): _store(test_flag="Y", family_name="ZZTEST"),
    ("patient", "merged"): _merged,
    ("coverage", "trailing-blanks"): _pad("member_no"),
    ("coverage", "sentinel-date"): _none("end_on", end_on=date(9999, 12, 31)),
    ("coverage", "self-pay"): _store(payer_code="SELF", payer_name="self pay", member_no=None, group_no=None),
    ("coverage", "missing-payer"): _store(payer_code=None, payer_name="N/A"),
    ("coverage", "unmapped-status"): _store(status_code="ask billing"),
    ("coverage", "zero-priority"): _store(priority=0),
    ("appointment", "dst-neighbour"): _neighbour_appointment,
    ("appointment", "free-text-type"): lambda record, _rng: _both(record, type_code="call back re labs"),
    ("appointment", "null-token"): _none("reason_text", reason_text="N/A"),
    ("appointment", "free-text-status"): _store(status_code="confirmed by phone"),
    ("appointment", "dst-gap"): _time("starts_at", GAP_DAYS, 2, 30),
    ("appointment", "dst-overlap"): _time("starts_at", OVERLAP_DAYS, 1, 30),
    ("appointment", "missing-minutes"): _store(minutes=None),
    ("encounter", "dst-neighbour"): _neighbour_encounter,
    ("encounter", "control-characters"): _insert("reason_text", "\x0b", "\x1f"),
    ("encounter", "sentinel-date"): _endless,
    ("encounter", "dst-gap"): _encounter_time(GAP_DAYS, 2, 30),
    ("encounter", "dst-overlap"): _encounter_time(OVERLAP_DAYS, 1, 30),
    ("encounter", "reversed-period"): _reversed_period,
    ("encounter", "unmapped-class"): _store(class_code="ZZ"),
    ("vitals", "unit-variant"): _unit_variant,
    ("vitals", "missing-unit"): _choose("weight_unit", None, "", "N/A"),
    ("vitals", "wrong-unit"): _store(temperature_unit="C"),
    ("vitals", "no-measure"): _store(**dict.fromkeys(_MEASURES)),
    ("vitals", "dst-overlap"): _time("taken_at", OVERLAP_DAYS, 1, 40),
    ("lab_result", "not-a-number"): _choose("result_text", "abc", "HEMOLYZED", "see note"),
    ("lab_result", "comparator"): _comparator,
    ("lab_result", "missing-unit"): _choose("unit_text", None, "", "N/A"),
    ("lab_result", "wrong-unit"): _si_value,
    ("lab_order", "sentinel-date"): _none("collected_at", collected_at=at(date(1900, 1, 1), 0)),
    ("lab_order", "unmapped-status"): _store(status_code="??"),
    ("problem", "free-text"): _free_problem,
    ("problem", "partial-date"): _partial_date,
    ("problem", "code-variant"): _lower("problem_code", "problem"),
    ("problem", "sentinel-date"): _choose("onset_date", "0000-00-00", "1900-01-01", meaning=True),
    ("problem", "impossible-date"): _bad_onset,
    ("problem", "resolved-before-onset"): _resolved_before_onset,
    ("problem", "missing-problem"): _store(problem_code="", problem_text="N/A"),
    ("allergy", "free-text"): _free_allergy,
    ("allergy", "sentinel-date"): _none("onset_date", onset_date="1900-01-01"),
    ("allergy", "unmapped-severity"): _store(severity_code="++"),
    ("allergy", "duplicate"): _store(),
    ("prescription", "free-text"): _free_drug,
    ("prescription", "control-characters"): _insert("sig_text", "\x07"),
    ("prescription", "missing-drug"): _store(drug_code=None, drug_text=""),
    ("prescription", "unmapped-status"): _store(status_code="Q"),
    ("prescription", "negative-refills"): _store(refills=-1),
    ("immunization", "null-token"): _none("lot_no", lot_no="N/A"),
    ("immunization", "duplicate"): _store(),
    ("immunization", "sentinel-date"): _store(given_on=date(1900, 1, 1)),
    ("immunization", "future-date"): _given_later,
    ("note", "control-characters"): _insert("body", "\x07", "\x0b"),
    ("note", "mojibake"): _mojibake_body,
    ("note", "missing-body"): _choose("body", None, "", "N/A"),
    ("note", "undecodable-text"): _undecodable_body,
    ("note", "oversized-text"): _oversized_body,
    ("note", "dst-gap"): _time("written_at", GAP_DAYS, 2, 45),
    ("document", "missing-content"): _store(content=None),
    ("document", "null-token"): _none("file_name", file_name=""),
}

_EXTRA = {
    ("assignment", "orphan-staff"),
    ("assignment", "soft-deleted"),
    ("allergy", "duplicate"),
    ("immunization", "duplicate"),
}

_SUITS: dict[tuple[str, str], Callable[[dict[str, Any]], object]] = {
    ("location", "soft-deleted"): lambda c: c["kind_code"] == "EXAM",
    ("staff", "soft-deleted"): lambda c: c["credential_code"] in ("RN", "MA", "FD"),
    ("staff", "null-token"): lambda c: c["npi"],
    ("patient", "code-variant"): lambda c: c["sex_code"] in ("F", "M"),
    ("patient", "placeholder-ssn"): lambda c: c["ssn"],
    ("patient", "sentinel-death-date"): lambda c: c["deceased_on"] is None,
    ("encounter", "dst-neighbour"): lambda c: c.get("appointment_id", 0) is None and c["age"] >= 6,
    ("encounter", "sentinel-date"): lambda c: c["ended_at"],
    ("encounter", "reversed-period"): lambda c: c["ended_at"],
    ("vitals", "unit-variant"): lambda c: c["weight"] is not None,
    ("vitals", "missing-unit"): lambda c: c["weight"] is not None,
    ("vitals", "wrong-unit"): lambda c: c["temperature_unit"] == "F",
    ("lab_result", "not-a-number"): lambda c: c["unit_text"],
    ("lab_result", "comparator"): lambda c: c["test_code"] in ("TSH", "TRIG"),
    ("lab_result", "missing-unit"): lambda c: c["unit_text"],
    ("lab_result", "wrong-unit"): lambda c: c["test_code"] in ("GLU", "CHOL"),
    ("problem", "partial-date"): lambda c: c["resolved_on"] is None,
    ("problem", "resolved-before-onset"): lambda c: c["problem_code"] != "FTT",
    ("allergy", "unmapped-severity"): lambda c: c["reaction_text"],
    ("allergy", "duplicate"): lambda c: c["reaction_text"],
    ("immunization", "null-token"): lambda c: c["status_code"] == "G",
    ("immunization", "duplicate"): lambda c: c["lot_no"],
}
