"""A chart a clinician can believe: drugs for problems, none that harm, values in range, time in order."""

from __future__ import annotations

from collections import defaultdict
from datetime import date

from demo_clinics.clinical import AVOID, ILLNESSES

from .conftest import LegacyReader


def test_prescriptions_have_a_problem_and_avoid_allergies(legacy: LegacyReader) -> None:
    treats = defaultdict(set)
    for illness in ILLNESSES:
        for drug in illness.drugs:
            treats[drug[0]].add(illness.code)
    problems, allergies = defaultdict(set), defaultdict(set)
    for row in legacy.rows("problem"):
        problems[row["patient_id"]].add((row["problem_code"] or "").strip().upper())
    for row in legacy.rows("allergy"):
        allergies[row["patient_id"]].add(row["substance_code"])
    dirty = {r["patient_id"] for r in legacy.rows("problem") if not r["problem_code"] or r["patient_id"] > 900_000_000}
    checked = 0
    for row in legacy.rows("prescription"):
        if row["drug_code"] and row["patient_id"] in problems:
            assert not AVOID.get(row["drug_code"], set()) & allergies[row["patient_id"]]
            if row["patient_id"] not in dirty:
                assert treats[row["drug_code"]] & problems[row["patient_id"]]
                checked += 1
    assert checked > 100


def test_vitals_are_in_range(legacy: LegacyReader) -> None:
    ranges = {"29463-7": {"[lb_av]": (6, 480), "kg": (3, 220)}, "8302-2": {"[in_i]": (18, 84), "cm": (46, 213)},
              "8310-5": {"[degF]": (96, 104), "Cel": (36, 40)}, "8867-4": {"/min": (45, 170)},
              "2708-6": {"%": (86, 100)}}  # fmt: skip
    seen = set()
    for line in legacy.expected:
        if line["entity"] == "vitals" and line["slot"] != "blood_pressure":
            quantity = line["resource"]["valueQuantity"]
            code = line["resource"]["code"]["coding"][0]["code"]
            low, high = ranges[code][quantity["code"]]
            assert low <= quantity["value"] <= high, (code, quantity)
            seen.add((code, quantity["code"]))
    assert len(seen) == 8


def test_blood_pressure_is_in_order(legacy: LegacyReader) -> None:
    for row in legacy.rows("vitals"):
        if row["systolic"] is not None:
            assert 75 <= row["systolic"] <= 200
            assert 40 <= row["diastolic"] < row["systolic"]


def test_nothing_happens_before_birth_or_after_death(legacy: LegacyReader) -> None:
    for patient in legacy.rows("patient"):
        key = str(patient["patient_id"])
        if ("patient", key) in legacy.failed or patient["birth_date"] < "1901" or patient["birth_date"] > "2027":
            continue
        born, died = date.fromisoformat(patient["birth_date"]), patient["deceased_on"] or date.max
        assert 0 <= (date(2026, 6, 30) - born).days / 365.25 <= 96
        for visit in legacy.rows("encounter"):
            if (
                visit["patient_id"] == patient["patient_id"]
                and ("encounter", str(visit["encounter_id"])) not in legacy.failed
            ):
                assert born <= visit["started_at"].date() <= died
