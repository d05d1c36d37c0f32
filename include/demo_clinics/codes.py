"""The local codes of the demo's legacy system and the standard codes they stand for.

Each table is text, one code a line: `local | meaning | target | display`. The target is `prefix:code` with a prefix of
SYSTEMS, or `-` where the group's terminologists have not agreed on one, so that only the local code may be carried over.
The README prints the same tables; a test compares them.
"""

from dataclasses import dataclass

IDENTIFIER_BASE = "https://clinics.example/legacy"

SYSTEMS = {
    "loinc": "http://loinc.org",
    "sct": "http://snomed.info/sct",
    "rx": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "cvx": "http://hl7.org/fhir/sid/cvx",
    "ucum": "http://unitsofmeasure.org",
    "gender": "http://hl7.org/fhir/administrative-gender",
    "actcode": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    "actsite": "http://terminology.hl7.org/CodeSystem/v3-ActSite",
    "interp": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
    "marital": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus",
    "lang": "urn:ietf:bcp:47",
    "physical": "http://terminology.hl7.org/CodeSystem/location-physical-type",
    "degree": "http://terminology.hl7.org/CodeSystem/v2-0360",
    "role": "http://terminology.hl7.org/CodeSystem/practitioner-role",
    "apptype": "http://terminology.hl7.org/CodeSystem/v2-0276",
    "relation": "http://terminology.hl7.org/CodeSystem/subscriber-relationship",
    "clinical": "http://terminology.hl7.org/CodeSystem/condition-clinical",
    "allergy": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",
    "fhir": "(a FHIR code)",
}


@dataclass(frozen=True, slots=True)
class Code:
    """One local code; `system`, `code` and `display` are None where no target is agreed."""

    table: str
    local: str
    meaning: str
    system: str | None
    code: str | None
    display: str | None


_TABLES = """
[sex]
M | male | gender:male | Male
F | female | gender:female | Female
X | neither | gender:other | Other
U | not known | gender:unknown | Unknown

[marital_status]
S | single | marital:S | Never Married
M | married | marital:M | Married
D | divorced | marital:D | Divorced
W | widowed | marital:W | Widowed
P | living together, not married | - |

[language]
ENG | English | lang:en | English
SPA | Spanish | lang:es | Spanish
CHI | Chinese | lang:zh | Chinese
VIE | Vietnamese | lang:vi | Vietnamese
HAT | Haitian Creole | lang:ht | Haitian Creole

[location_kind]
BLDG | building | physical:bu | Building
EXAM | examination room | physical:ro | Room
LAB | laboratory room | physical:ro | Room
WAIT | waiting area | physical:area | Area

[location_status]
A | in use | fhir:active |
S | closed for now | fhir:suspended |
I | no longer used | fhir:inactive |

[staff_credential]
MD | physician | degree:MD | Doctor of Medicine
DO | osteopathic physician | degree:DO | Doctor of Osteopathy
NP | nurse practitioner | degree:NP | Nurse Practitioner
PA | physician assistant | degree:PA | Physician Assistant
RN | registered nurse | degree:RN | Registered Nurse
MA | medical assistant (v2-0360 MA is Master of Arts: not the same) | - |
FD | front desk, no credential | - |

[staff_role]
PHYS | physician or other prescriber | role:doctor | Doctor
NURSE | nurse | role:nurse | Nurse
MA | medical assistant | - |
FRONT | front desk | - |

[specialty]
FM | family medicine | sct:419772000 | Family practice
IM | internal medicine | sct:419192003 | Internal medicine
PED | paediatrics | sct:394537008 | Pediatric specialty
UC | urgent care | - |

[appointment_status]
B | booked | fhir:booked |
A | arrived | fhir:arrived |
F | took place | fhir:fulfilled |
C | cancelled | fhir:cancelled |
N | did not come | fhir:noshow |
P | asked for, not confirmed | fhir:pending |

[appointment_type]
NEW | new patient | - |
FU | follow-up | apptype:FOLLOWUP | A follow up visit from a previous appointment
PHYS | routine yearly visit | apptype:ROUTINE | Routine appointment - default if not valued
WALK | walk-in | apptype:WALKIN | A previously unscheduled walk-in visit
TELE | video | - |
GRP | group visit | - |

[encounter_status]
O | open | fhir:in-progress |
C | closed | fhir:finished |
X | cancelled | fhir:cancelled |
E | entered in error | fhir:entered-in-error |

[encounter_class]
O | office visit | actcode:AMB | ambulatory
U | urgent care visit | actcode:AMB | ambulatory
T | video or telephone | actcode:VR | virtual
H | home visit | actcode:HH | home health

[coverage_status]
A | in force | fhir:active |
C | cancelled | fhir:cancelled |
E | entered in error | fhir:entered-in-error |

[relationship]
S | the patient | relation:self | Self
P | spouse | relation:spouse | Spouse
C | child | relation:child | Child
O | other | relation:other | Other

[payer]
BCBS | Blue Harbor Health Plan | - |
AETN | Atlantic Mutual | - |
UHC | Union Health | - |
MCARE | Medicare | - |
MCAID | Medicaid | - |
SELF | pays without insurance: the row is skipped | - |

[vital]
weight | body weight | loinc:29463-7 | Body weight
height | body height | loinc:8302-2 | Body height
blood_pressure | blood pressure, two components | loinc:85354-9 | Blood pressure panel with all children optional
systolic | systolic component | loinc:8480-6 | Systolic blood pressure
diastolic | diastolic component | loinc:8462-4 | Diastolic blood pressure
heart_rate | heart rate | loinc:8867-4 | Heart rate
temperature | body temperature | loinc:8310-5 | Body temperature
spo2 | oxygen saturation | loinc:2708-6 | Oxygen saturation in Arterial blood

[vital_unit]
kg | kilogram | ucum:kg | kg
lb | pound | ucum:[lb_av] | lb
lbs | pound | ucum:[lb_av] | lb
cm | centimetre | ucum:cm | cm
in | inch | ucum:[in_i] | in
C | degree Celsius | ucum:Cel | C
F | degree Fahrenheit | ucum:[degF] | F

[lab_status]
O | ordered | fhir:registered |
P | part of the results | fhir:partial |
F | final | fhir:final |
C | corrected | fhir:corrected |
X | cancelled | fhir:cancelled |

[result_status]
P | preliminary | fhir:preliminary |
F | final | fhir:final |
C | corrected | fhir:corrected |
X | cancelled | fhir:cancelled |

[lab_panel]
CBC | blood count | loinc:58410-2 | CBC panel - Blood by Automated count
BMP | basic metabolic panel | loinc:24321-2 | Basic metabolic 2000 panel - Serum or Plasma
LIPID | lipid panel | loinc:24331-1 | Lipid 1996 panel - Serum or Plasma
A1C | glycated haemoglobin | loinc:4548-4 | Hemoglobin A1c/Hemoglobin.total in Blood
TSH | thyrotropin | loinc:3016-3 | Thyrotropin [Units/volume] in Serum or Plasma
UA | urine dipstick | loinc:24356-8 | Urinalysis complete panel - Urine
VITD | vitamin D, house panel | - |

[lab_test]
HGB | haemoglobin | loinc:718-7 | Hemoglobin [Mass/volume] in Blood
HCT | haematocrit | loinc:4544-3 | Hematocrit [Volume Fraction] of Blood by Automated count
WBC | leukocytes | loinc:6690-2 | Leukocytes [#/volume] in Blood by Automated count
PLT | platelets | loinc:777-3 | Platelets [#/volume] in Blood by Automated count
GLU | glucose, mg/dL | loinc:2345-7 | Glucose [Mass/volume] in Serum or Plasma
GLUM | glucose, mmol/L | loinc:14749-6 | Glucose [Moles/volume] in Serum or Plasma
NA | sodium | loinc:2951-2 | Sodium [Moles/volume] in Serum or Plasma
K | potassium | loinc:2823-3 | Potassium [Moles/volume] in Serum or Plasma
CL | chloride | loinc:2075-0 | Chloride [Moles/volume] in Serum or Plasma
CO2 | carbon dioxide, total | loinc:2028-9 | Carbon dioxide, total [Moles/volume] in Serum or Plasma
BUN | urea nitrogen | loinc:3094-0 | Urea nitrogen [Mass/volume] in Serum or Plasma
CREA | creatinine | loinc:2160-0 | Creatinine [Mass/volume] in Serum or Plasma
CA | calcium | loinc:17861-6 | Calcium [Mass/volume] in Serum or Plasma
CHOL | cholesterol, mg/dL | loinc:2093-3 | Cholesterol [Mass/volume] in Serum or Plasma
CHOLM | cholesterol, mmol/L | loinc:14647-2 | Cholesterol [Moles/volume] in Serum or Plasma
HDL | HDL cholesterol | loinc:2085-9 | Cholesterol in HDL [Mass/volume] in Serum or Plasma
LDL | LDL cholesterol, calculated | loinc:13457-7 | Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation
TRIG | triglycerides | loinc:2571-8 | Triglyceride [Mass/volume] in Serum or Plasma
A1C | glycated haemoglobin | loinc:4548-4 | Hemoglobin A1c/Hemoglobin.total in Blood
TSH | thyrotropin | loinc:3016-3 | Thyrotropin [Units/volume] in Serum or Plasma
UGLU | urine glucose (qualitative) | loinc:25428-4 | Glucose [Presence] in Urine by Test strip
UPRO | urine protein (qualitative) | loinc:20454-5 | Protein [Presence] in Urine by Test strip
UKET | urine ketones (qualitative) | loinc:2514-8 | Ketones [Presence] in Urine by Test strip
ULEU | urine leukocyte esterase (qualitative) | loinc:5799-2 | Leukocyte esterase [Presence] in Urine by Test strip
UNIT | urine nitrite (qualitative) | loinc:5802-4 | Nitrite [Presence] in Urine by Test strip
VITDX | vitamin D, house assay | - |

[lab_unit]
mg/dL | | ucum:mg/dL | mg/dL
mmol/L | | ucum:mmol/L | mmol/L
g/dL | | ucum:g/dL | g/dL
% | | ucum:% | %
K/uL | thousand per microlitre | ucum:10*3/uL | 10*3/uL
uIU/mL | | ucum:u[IU]/mL | uIU/mL
ng/mL | | ucum:ng/mL | ng/mL

[abnormal_flag]
N | normal | interp:N | Normal
L | low | interp:L | Low
H | high | interp:H | High
LL | critically low | interp:LL | Critical low
HH | critically high | interp:HH | Critical high
A | abnormal | interp:A | Abnormal

[problem_status]
A | active | clinical:active | Active
I | inactive | clinical:inactive | Inactive
R | resolved | clinical:resolved | Resolved
E | entered in error: verificationStatus instead of clinicalStatus | - |

[problem]
HTN | hypertension | sct:59621000 | Essential hypertension
DM2 | type 2 diabetes | sct:44054006 | Diabetes mellitus type 2
HLD | hyperlipidaemia | sct:55822004 | Hyperlipidemia
ASTH | asthma | sct:195967001 | Asthma
COPD | COPD | sct:13645005 | Chronic obstructive lung disease
DEPR | depression | sct:35489007 | Depressive disorder
ANX | anxiety | sct:197480006 | Anxiety disorder
GERD | reflux | sct:235595009 | Gastroesophageal reflux disease
HYPO | hypothyroidism | sct:40930008 | Hypothyroidism
OA | osteoarthritis | sct:396275006 | Osteoarthritis
OBES | obesity | sct:414916001 | Obesity
MIGR | migraine | sct:37796009 | Migraine
BRON | acute bronchitis | sct:10509002 | Acute bronchitis
OM | otitis media | sct:65363002 | Otitis media
UTI | urinary tract infection | sct:68566005 | Urinary tract infectious disease
LBP | low back pain | sct:279039007 | Low back pain
URI | cold (the group codes several things as URI) | - |
FTT | "FTT", means two different things in the group | - |

[allergy_status]
A | active | allergy:active | Active
I | inactive | allergy:inactive | Inactive
R | resolved | allergy:resolved | Resolved
E | entered in error: verificationStatus instead of clinicalStatus | - |

[allergy]
PCN | penicillin | sct:91936005 | Allergy to penicillin
SULF | sulfonamides | sct:91939003 | Allergy to sulfonamide
ASA | aspirin | sct:293586001 | Allergy to aspirin
PNUT | peanut | sct:91935009 | Allergy to peanut
EGG | egg | sct:91930004 | Allergy to egg
LATX | latex | sct:300916003 | Latex allergy
BEE | bee venom | sct:424213003 | Allergy to bee venom
CODN | codeine (allergy or side effect: not known) | - |

[allergy_kind]
D | drug | fhir:medication |
F | food | fhir:food |
E | environment | fhir:environment |

[severity]
MI | mild | fhir:mild |
MO | moderate | fhir:moderate |
SE | severe | fhir:severe |

[prescription_status]
A | active | fhir:active |
C | completed | fhir:completed |
D | discontinued | fhir:stopped |
H | on hold | fhir:on-hold |
X | cancelled | fhir:cancelled |
E | entered in error | fhir:entered-in-error |

[drug]
LIS10 | lisinopril 10 mg tablet | rx:314076 | lisinopril 10 MG Oral Tablet
AML5 | amlodipine 5 mg tablet | rx:197361 | amlodipine 5 MG Oral Tablet
HCTZ25 | hydrochlorothiazide 25 mg tablet | rx:310798 | hydrochlorothiazide 25 MG Oral Tablet
METXR | metformin 500 mg extended release tablet | rx:860975 | 24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet
ATO20 | atorvastatin 20 mg tablet | rx:617310 | atorvastatin 20 MG Oral Tablet
VENT | albuterol inhaler (Ventolin) | rx:859088 | 200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler [Ventolin]
FLOV | fluticasone inhaler (Flovent 44) | rx:895996 | 120 ACTUAT fluticasone propionate 0.044 MG/ACTUAT Metered Dose Inhaler [Flovent]
SERT50 | sertraline 50 mg tablet | rx:312941 | sertraline 50 MG Oral Tablet
OMEP20 | omeprazole 20 mg capsule | rx:198051 | omeprazole 20 MG Delayed Release Oral Capsule
AMOX500 | amoxicillin 500 mg tablet | rx:308192 | amoxicillin 500 MG Oral Tablet
IBU200 | ibuprofen 200 mg tablet | rx:310965 | ibuprofen 200 MG Oral Tablet
APAP325 | acetaminophen 325 mg tablet | rx:313782 | acetaminophen 325 MG Oral Tablet
LEVO50 | levothyroxine 50 micrograms tablet | - |
HOUSECRM | house cream, compounded | - |

[vaccine]
FLU | influenza, injectable, preservative free | cvx:140 | Influenza, seasonal, injectable, preservative free
TDAP | Tdap | cvx:115 | Tdap
MMR | MMR | cvx:03 | MMR
VAR | varicella | cvx:21 | varicella
DTAP | DTaP | cvx:20 | DTaP
IPV | polio | cvx:10 | IPV
HEPB | hepatitis B, adult | cvx:43 | Hep B, adult
PCV13 | pneumococcal conjugate 13 | cvx:133 | Pneumococcal conjugate PCV 13
ZOST | zoster, recombinant | cvx:187 | zoster recombinant
COVID | COVID-19, Pfizer 30 micrograms | cvx:208 | COVID-19, mRNA, LNP-S, PF, 30 mcg/0.3 mL dose
TRAV | travel vaccine, not said which | - |

[immunization_status]
G | given | fhir:completed |
R | refused | fhir:not-done |
E | entered in error | fhir:entered-in-error |

[body_site]
LA | left arm | actsite:LA | left arm
RA | right arm | actsite:RA | right arm
LT | left thigh | actsite:LT | left thigh
RT | right thigh | actsite:RT | right thigh

[note_kind]
PROG | progress note | loinc:11506-3 | Progress note
HP | history and physical | loinc:34117-2 | History and physical note
CONS | consultation | loinc:11488-4 | Consult note
MISC | anything else | - |

[note_status]
F | signed | fhir:final |
D | draft | fhir:preliminary |
A | amended | fhir:amended |
E | entered in error | fhir:entered-in-error |

[document_kind]
REFL | referral letter | loinc:57133-1 | Referral note
CONSENT | consent form | loinc:59284-0 | Consent Document
SCAN | scanned paper | - |
INSCARD | copy of an insurance card | - |
"""


def _code(table: str, line: str) -> Code:
    local, meaning, target, display = (part.strip() for part in line.split("|"))
    prefix, _, code = target.partition(":")
    if not code:
        return Code(table, local, meaning, None, None, None)
    return Code(table, local, meaning, SYSTEMS[prefix], code, display or None)


def _parse(text: str) -> dict[str, dict[str, Code]]:
    tables: dict[str, dict[str, Code]] = {}
    for line in filter(str.strip, text.splitlines()):
        if line.startswith("["):
            table = line.strip("[] ")
            tables[table] = {}
        else:
            code = _code(table, line)
            tables[table][code.local] = code
    return tables


TABLES = _parse(_TABLES)


def as_markdown() -> str:
    """The code tables as the README shows them."""
    lines: list[str] = []
    for table, codes in TABLES.items():
        lines += [f"### `{table}`", "", "| local | meaning | target | display |", "|---|---|---|---|"]
        for c in codes.values():
            target = f"`{c.system}` `{c.code}`" if c.code else "none agreed (`unmapped`)"
            lines.append(f"| `{c.local}` | {c.meaning} | {target} | {c.display or ''} |")
        lines.append("")
    return "\n".join(lines)
