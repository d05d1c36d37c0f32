"""Names of people, streets and places to draw from. Accents and apostrophes are meant: they must survive."""

from pathlib import Path


def _read(name: str) -> dict[str, list[str]]:
    """Sections of words: a line `[section]`, then words with blanks between."""
    sections: dict[str, list[str]] = {}
    for word in Path(__file__).with_name(name).read_text(encoding="utf-8").split():
        if word.startswith("["):
            words = sections[word.strip("[]")] = []
        else:
            words.append(word)
    return sections


_NAMES = _read("names.txt")
FAMILIES, STREETS = _NAMES["family"], _NAMES["street"]
GIVEN = {"F": _NAMES["F"], "M": _NAMES["M"]}

STREET_KINDS = ("St", "Ave", "Rd", "Ln", "Dr")

SUFFIXES = ("Jr.", "Sr.", "II", "III")

CLINICS = (
    # clinic_id, name, city, state, zip codes around, zone
    ("harbor", "Harbor Street Clinic", "Boston", "MA", ("02108", "02113", "02128"), "America/New_York"),
    ("hillside", "Hillside Family Health", "Worcester", "MA", ("01602", "01605", "01609"), "America/New_York"),
    ("lakeview", "Lakeview Medical", "Burlington", "VT", ("05401", "05403", "05408"), "America/New_York"),
    ("prairie", "Prairie Health Center", "Madison", "WI", ("53703", "53704", "53711"), "America/Chicago"),
)

REASONS = {
    "HTN": "blood pressure check",
    "DM2": "diabetes follow-up",
    "HLD": "cholesterol follow-up",
    "ASTH": "asthma check",
    "COPD": "shortness of breath",
    "DEPR": "mood follow-up",
    "ANX": "anxiety",
    "GERD": "heartburn",
    "HYPO": "thyroid check",
    "OA": "knee pain",
    "OBES": "weight management",
    "MIGR": "headache",
    "BRON": "cough",
    "OM": "ear pain",
    "UTI": "burning on urination",
    "LBP": "back pain",
    "URI": "cold symptoms",
    "FTT": "weight loss",
}
