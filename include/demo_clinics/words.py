"""Names of people, streets and places to draw from. Accents and apostrophes are meant: they must survive."""

FAMILIES = (
    "Abara Adeyemi Ahmed Almeida Anderson Baptiste Barros Beaulieu Bélanger Bianchi Brennan Brown Callahan Campbell Chang Chen "
    "Christensen Cohen Coleman Costa Cruz D'Angelo Davis Delacroix Desrosiers Diaz Dubois Edwards Ferreira Fischer Flores Foster "
    "García Gomez Gonçalves Greenberg Gutiérrez Hansen Harris Haddad Hernandez Hill Hoffmann Hughes Ibrahim Jackson Jean-Baptiste "
    "Johnson Jones Joseph Kaplan Kelly Khan Kim Kowalski Kumar Lam Larsen Lee Levine Lopez MacDonald Martin Mendoza Miller Mitchell "
    "Moore Morales Müller Murphy Murray Nakamura Nguyen Nguyễn Nowak Núñez O'Brien O'Connor Okafor Oliveira Ortiz Park Patel Pereira "
    "Peterson Pham Pierre Ramirez Reed Reyes Richardson Rivera Roberts Robinson Rodrigues Rossi Russo Saint-Louis Santos Schmidt "
    "Schwartz Shah Silva Singh Smith Sullivan Søndergaard Tavares Taylor Thomas Thompson Torres Tran Turner Vasquez Walker Walsh "
    "Washington Watson White Williams Wilson Wong Wright Yılmaz Young Zhang"
).split()

GIVEN = {
    "F": (
        "Abigail Aisha Alice Amara Amelia Ana Andrea Angela Anna Beatriz Camille Carmen Catherine Charlotte Chloé Claire Diana Elena "
        "Elizabeth Emily Emma Esther Eva Fatima Grace Hannah Helen Inês Isabel Jane Jasmine Joanne Julia Karen Kathleen Laura Leah "
        "Linda Lucía Margaret Maria Marie Mary Mei Michelle Mónica Nadia Nora Olivia Patricia Priya Rachel Renée Rosa Ruth Samantha "
        "Sarah Sofía Susan Teresa Thanh Victoria Yvonne Zoë"
    ).split(),
    "M": (
        "Aaron Adam Ahmed Alexander André Anthony Antonio Benjamin Brian Carlos Charles Christopher Daniel David Diego Edward Eli "
        "Eric Ethan Felipe Francis Frank Gabriel George Gregory Henry Hugo Ibrahim Isaac Jack Jacob James Jean Joaquín John Jonathan "
        "Jorge José Joseph Joshua Kevin Leo Liam Louis Luca Luis Malik Marc Mark Martin Mateo Matthew Michael Minh Nathan Noah Oscar "
        "Patrick Paul Peter Rafael Raj Raymond Richard Robert Samuel Sean Simon Stephen Thomas Victor Walter William"
    ).split(),
}

STREETS = (
    "Adams Beacon Bridge Cedar Center Chestnut Church Elm Franklin Garden Harvard High Hill Kendall Lake Lincoln Main Maple Market "
    "Mill Oak Park Pearl Pine Pleasant Pond Prospect River School South Spring State Summer Union Walnut Washington Water Willow"
).split()

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
    "HTN": "blood pressure check", "DM2": "diabetes follow-up", "HLD": "cholesterol follow-up", "ASTH": "asthma check",
    "COPD": "shortness of breath", "DEPR": "mood follow-up", "ANX": "anxiety", "GERD": "heartburn", "HYPO": "thyroid check",
    "OA": "knee pain", "OBES": "weight management", "MIGR": "headache", "BRON": "cough", "OM": "ear pain",
    "UTI": "burning on urination", "LBP": "back pain", "URI": "cold symptoms", "FTT": "weight loss",
}  # fmt: skip
