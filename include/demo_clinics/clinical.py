"""What is plausible: who has which problem, what is given for it, what is measured. A clinician shall believe it."""

from dataclasses import dataclass
from random import Random

_Drug = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Illness:
    """How often a problem is found in an age band (per person), and what follows from it.

    `drugs`: code, text, directions, quantity, refills. `panels` are ordered at its visits. `chronic` ones stay active.
    """

    code: str
    text: str
    bands: tuple[tuple[int, int, float], ...]
    chronic: bool
    drugs: tuple[_Drug, ...] = ()
    panels: tuple[str, ...] = ()


_DAILY = "Take 1 tablet by mouth once daily"
ILLNESSES = (
    Illness(
        "HTN",
        "Hypertension",
        ((30, 44, 0.12), (45, 64, 0.35), (65, 110, 0.6)),
        True,
        (
            ("LIS10", "Lisinopril 10 mg tablet", _DAILY, 90, 3),
            ("AML5", "Amlodipine 5 mg tablet", _DAILY, 90, 3),
            ("HCTZ25", "Hydrochlorothiazide 25 mg tablet", f"{_DAILY} in the morning", 90, 3),
        ),
        ("BMP",),
    ),
    Illness(
        "DM2",
        "Type 2 diabetes",
        ((35, 64, 0.12), (65, 110, 0.22)),
        True,
        (("METXR", "Metformin ER 500 mg tablet", "Take 2 tablets by mouth with the evening meal", 180, 3),),
        ("A1C", "BMP"),
    ),
    Illness(
        "HLD",
        "Hyperlipidemia",
        ((35, 64, 0.25), (65, 110, 0.45)),
        True,
        (("ATO20", "Atorvastatin 20 mg tablet", f"{_DAILY} at bedtime", 90, 3),),
        ("LIPID",),
    ),
    Illness(
        "ASTH",
        "Asthma",
        ((4, 17, 0.11), (18, 64, 0.08)),
        True,
        (
            ("VENT", "Albuterol inhaler (Ventolin HFA)", "Inhale 2 puffs every 4 to 6 hours as needed", 1, 2),
            ("FLOV", "Fluticasone inhaler 44 mcg", "Inhale 2 puffs twice daily", 1, 5),
        ),
    ),
    Illness(
        "COPD",
        "COPD",
        ((55, 110, 0.1),),
        True,
        (("VENT", "Albuterol inhaler (Ventolin HFA)", "Inhale 2 puffs every 4 to 6 hours as needed", 1, 5),),
        ("CBC",),
    ),
    Illness(
        "DEPR",
        "Depression",
        ((16, 64, 0.1), (65, 110, 0.07)),
        True,
        (("SERT50", "Sertraline 50 mg tablet", _DAILY, 30, 5),),
    ),
    Illness("ANX", "Anxiety", ((16, 64, 0.1),), True, (("SERT50", "Sertraline 50 mg tablet", _DAILY, 30, 5),)),
    Illness(
        "GERD",
        "Reflux",
        ((30, 110, 0.14),),
        True,
        (("OMEP20", "Omeprazole 20 mg capsule", "Take 1 capsule by mouth before breakfast", 30, 3),),
    ),
    Illness(
        "HYPO",
        "Hypothyroidism",
        ((30, 110, 0.08),),
        True,
        (("LEVO50", "Levothyroxine 50 mcg tablet", f"{_DAILY} on an empty stomach", 90, 3),),
        ("TSH",),
    ),
    Illness(
        "OA",
        "Osteoarthritis",
        ((50, 64, 0.15), (65, 110, 0.3)),
        True,
        (
            ("APAP325", "Acetaminophen 325 mg tablet", "Take 2 tablets by mouth every 6 hours as needed", 100, 1),
            ("HOUSECRM", "House cream for joints", "Apply to the knee twice daily", 1, 1),
        ),
        ("VITD",),
    ),
    Illness(
        "MIGR",
        "Migraine",
        ((15, 54, 0.09),),
        True,
        (("IBU200", "Ibuprofen 200 mg tablet", "Take 2 tablets by mouth at onset, may repeat after 6 hours", 60, 1),),
    ),
    Illness("BRON", "Acute bronchitis", ((18, 110, 0.12),), False, (), ("CBC",)),
    Illness("OM", "Otitis media", ((1, 9, 0.35),), False),
    Illness(
        "UTI",
        "Urinary tract infection",
        ((18, 110, 0.1),),
        False,
        (("AMOX500", "Amoxicillin 500 mg tablet", "Take 1 tablet by mouth three times daily for 7 days", 21, 0),),
        ("UA",),
    ),
    Illness(
        "LBP",
        "Low back pain",
        ((20, 80, 0.16),),
        False,
        (("IBU200", "Ibuprofen 200 mg tablet", "Take 2 tablets by mouth every 8 hours with food as needed", 60, 0),),
    ),
    Illness("URI", "Cold", ((0, 110, 0.25),), False),
    Illness("FTT", "FTT", ((0, 2, 0.04), (78, 110, 0.06)), True),
)

AVOID = {"AMOX500": {"PCN"}, "IBU200": {"ASA"}}
"""Drug → allergies with which it is not prescribed."""

ALLERGIES = (
    # code, text, kind, reactions, weight
    ("PCN", "Penicillin", "D", ("hives", "rash", "anaphylaxis"), 10),
    ("SULF", "Sulfa drugs", "D", ("rash", "hives"), 6),
    ("ASA", "Aspirin", "D", ("wheezing", "hives"), 3),
    ("CODN", "Codeine", "D", ("nausea", "itching"), 3),
    ("PNUT", "Peanuts", "F", ("anaphylaxis", "hives", "lip swelling"), 4),
    ("EGG", "Eggs", "F", ("hives", "vomiting"), 2),
    ("LATX", "Latex", "E", ("contact rash",), 3),
    ("BEE", "Bee stings", "E", ("local swelling", "anaphylaxis"), 3),
)

SEVERITY = {"anaphylaxis": "SE", "wheezing": "SE", "hives": "MO", "lip swelling": "MO", "vomiting": "MO", "rash": "MI"}
"""Reaction → severity code; others are mild."""

VACCINES = (
    # code, youngest, oldest age when given
    ("DTAP", 0, 6), ("IPV", 0, 6), ("MMR", 1, 6), ("VAR", 1, 6), ("PCV13", 0, 2), ("TDAP", 11, 90), ("HEPB", 20, 59),
    ("ZOST", 50, 90), ("FLU", 3, 110), ("COVID", 12, 110), ("TRAV", 18, 75),
)  # fmt: skip

PANELS = {
    "CBC": ("HGB", "HCT", "WBC", "PLT"),
    "BMP": ("GLU", "NA", "K", "CL", "CO2", "BUN", "CREA", "CA"),
    "LIPID": ("CHOL", "HDL", "LDL", "TRIG"),
    "A1C": ("A1C",),
    "TSH": ("TSH",),
    "UA": ("UGLU", "UPRO", "UKET", "ULEU", "UNIT"),
    "VITD": ("VITDX",),
}

QUALITATIVE = frozenset(PANELS["UA"])

TESTS = {
    # code: unit, low and high of the reference range, mean and deviation of the results, decimals
    "HGB": ("g/dL", 12.0, 17.0, 14.0, 1.3, 1),
    "HCT": ("%", 36.0, 50.0, 42.0, 3.5, 1),
    "WBC": ("K/uL", 4.0, 11.0, 7.2, 1.8, 1),
    "PLT": ("K/uL", 150, 400, 255, 50, 0),
    "GLU": ("mg/dL", 70, 99, 96, 11, 0),
    "NA": ("mmol/L", 135, 145, 140, 2.3, 0),
    "K": ("mmol/L", 3.5, 5.1, 4.2, 0.35, 1),
    "CL": ("mmol/L", 98, 107, 102, 2.5, 0),
    "CO2": ("mmol/L", 22, 29, 25, 2, 0),
    "BUN": ("mg/dL", 7, 20, 14, 4, 0),
    "CREA": ("mg/dL", 0.6, 1.3, 0.95, 0.18, 2),
    "CA": ("mg/dL", 8.6, 10.3, 9.5, 0.35, 1),
    "CHOL": ("mg/dL", 125, 200, 195, 32, 0),
    "HDL": ("mg/dL", 40, 90, 54, 11, 0),
    "LDL": ("mg/dL", 40, 130, 115, 27, 0),
    "TRIG": ("mg/dL", 40, 150, 130, 42, 0),
    "A1C": ("%", 4.0, 5.6, 5.4, 0.3, 1),
    "TSH": ("uIU/mL", 0.4, 4.5, 2.3, 1.1, 2),
    "VITDX": ("ng/mL", 30, 100, 33, 9, 0),
    "GLUM": ("mmol/L", 3.9, 5.5, 5.3, 0.6, 1),
    "CHOLM": ("mmol/L", 3.2, 5.2, 5.0, 0.8, 1),
}

RAISED = {
    "DM2": {"GLU": 45, "GLUM": 2.5, "A1C": 1.9},
    "HLD": {"CHOL": 30, "CHOLM": 0.8, "LDL": 25},
    "HYPO": {"TSH": 1.4},
}
"""Problem → test → how much higher the mean is."""

SI_TESTS = {"GLU": "GLUM", "CHOL": "CHOLM"}
"""What the laboratory of `prairie` reports instead."""


def risk(illness: Illness, age: int) -> float:
    """The share of people of `age` with the illness."""
    return next((share for low, high, share in illness.bands if low <= age <= high), 0.0)


def result(test: str, problems: set[str], rng: Random) -> tuple[float, str]:
    """A value of a quantitative test in its unit, and its flag (L, N, H)."""
    _, low, high, mean, deviation, decimals = TESTS[test]
    mean += sum(RAISED[p].get(test, 0) for p in problems & RAISED.keys())
    value = round(max(rng.gauss(mean, deviation), mean * 0.4), decimals)
    return value, "L" if value < low else "H" if value > high else "N"


def body(age: float, sex: str, stature: float, build: float) -> tuple[float, float]:
    """(height in cm, weight in kg): children by the usual growth, adults by `stature` and `build` (-2 to 2)."""
    if age < 17:
        height = (51 + 25 * min(age, 1) + 6.2 * max(age - 1, 0)) * (1 + 0.03 * stature)
        index = 16 + max(age - 6, 0) * 0.45 + 0.9 * build
    else:
        height = (163 if sex == "F" else 176) + 6.5 * stature
        index = max(27.5 + 4.5 * build, 18)
    return round(height, 1), round(index * (height / 100) ** 2, 1)


def heart(age: int, hypertensive: bool, rng: Random) -> tuple[int, int, int]:
    """(systolic, diastolic, heart rate) at rest."""
    systolic = rng.gauss(88 + 2 * age if age < 15 else 118 + 0.12 * max(age - 30, 0), 7) + (14 if hypertensive else 0)
    diastolic = systolic * rng.uniform(0.58, 0.68)
    rate = rng.gauss(max(130 - 9 * age, 74) if age < 10 else 74, 8)
    return round(systolic), round(diastolic), round(rate)
