"""One visit: appointment, encounter, vitals, laboratory, vaccines and note."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from demo_clinics import clinical
from demo_clinics.person import Person
from demo_clinics.record import Record
from demo_clinics.words import REASONS
from demo_clinics.world import Clinic, World


@dataclass(slots=True)
class Visit:
    """A visit as planned: when and where, and what it is for (problem codes)."""

    start: datetime
    clinic: Clinic
    reasons: list[str]
    encounter: Record | None = None
    doctor: Record | None = None

    def after(self, minutes: int) -> datetime:
        """A time into the visit, as the encounter has it."""
        assert self.encounter
        started: datetime = self.encounter.clean["started_at"]
        return started + timedelta(minutes=minutes)


def add_appointment(world: World, person: Person, clinic: Clinic, start: datetime, status: str, reason: str) -> Record:
    """Book a visit. Past ones are last changed on their day, coming ones before the demo's present."""
    rng = world.rng
    clean = {
        "starts_at": start, "minutes": rng.choice((15, 20, 30, 40)), "status_code": status,
        "type_code": rng.choice(("NEW", "FU", "FU", "PHYS", "WALK", "TELE", "GRP", None)), "reason_text": reason,
    }  # fmt: skip
    references = {
        "patient_id": person.record,
        "staff_id": rng.choice(clinic.prescribers),
        "location_id": rng.choice(clinic.rooms),
    }
    touched = start - timedelta(days=rng.randrange(62, 90)) if status in "BP" else start + timedelta(hours=3)
    return world.add("appointment", clinic.unit, clinic.zone, clean, references, touched)


def add_visit(world: World, person: Person, visit: Visit) -> None:
    """Add the encounter and what was done in it; `visit.encounter` stays None if it did not take place."""
    rng, reason = world.rng, REASONS.get(visit.reasons[0], "yearly visit") if visit.reasons else "yearly visit"
    references: dict[str, Record] = {}
    if rng.random() < 0.75:
        appointment = add_appointment(world, person, visit.clinic, visit.start, "F", reason)
        if appointment.clean["status_code"] != "F":
            return
        references["appointment_id"] = appointment
    visit.doctor = rng.choice(visit.clinic.prescribers)
    references |= {"patient_id": person.record, "clinic_id": visit.clinic.record, "staff_id": visit.doctor,
                   "location_id": rng.choice(visit.clinic.rooms)}  # fmt: skip
    status = rng.choices("COXE", (96, 2, 1, 1))[0]
    clean: dict[str, Any] = {} if "appointment_id" in references else {"appointment_id": None}
    ended = visit.start + timedelta(minutes=rng.randrange(25, 50)) if status in "CE" else None
    clean |= {
        "class_code": rng.choices("OUTH", (80, 8, 9, 3))[0], "status_code": status, "started_at": visit.start,
        "ended_at": ended, "reason_text": reason, "age": person.age(visit.start.date()),
    }  # fmt: skip
    touched = visit.start + timedelta(hours=4)
    encounter = world.add("encounter", visit.clinic.unit, visit.clinic.zone, clean, references, touched)
    if status in "CO":
        visit.encounter = encounter
        _care(world, person, visit, reason)


def _care(world: World, person: Person, visit: Visit, reason: str) -> None:
    rng = world.rng
    vitals = _vitals(world, person, visit) if rng.random() < 0.85 else None
    panels = {p for i in clinical.ILLNESSES if i.code in person.problems for p in i.panels if rng.random() < 0.35}
    if rng.random() < 0.12:
        panels.add("CBC")
    for panel in sorted(panels):
        _laboratory(world, person, visit, panel)
    _vaccines(world, person, visit)
    if rng.random() < 0.8:
        _note(world, person, visit, reason, vitals)


def _add(world: World, person: Person, visit: Visit, entity: str, clean: dict[str, Any], staff: Record | None = None,
         days: int = 0) -> Record:  # fmt: skip
    """A record of this visit: patient, encounter and (if given) staff are referenced."""
    assert visit.encounter
    known = {"patient_id": person.record, "encounter_id": visit.encounter} | ({"staff_id": staff} if staff else {})
    touched = visit.after(0) + timedelta(days=days, hours=5)
    return world.add(entity, visit.clinic.unit, visit.clinic.zone, clean, known, touched)


def _vitals(world: World, person: Person, visit: Visit) -> Record:
    rng, day = world.rng, visit.start.date()
    age, metric = person.age(day), visit.clinic.unit == "prairie"
    height, weight = clinical.body((day - person.born).days / 365.25, person.sex, person.stature, person.build)
    systolic, diastolic, rate = clinical.heart(age, "HTN" in person.problems, rng)
    fever = rng.random() < 0.05 or (bool({"OM", "BRON", "URI"} & set(visit.reasons)) and rng.random() < 0.4)
    celsius = rng.uniform(38.0, 39.4) if fever else rng.uniform(36.3, 37.2)
    weight *= rng.uniform(0.98, 1.02)
    taken = {
        "weight": round(weight if metric else weight / 0.45359237, 1) if rng.random() < 0.95 else None,
        "height": round(height if metric else height / 2.54, 1) if age < 18 or rng.random() < 0.6 else None,
        "temperature": round(celsius if metric else celsius * 1.8 + 32, 1) if rng.random() < 0.85 else None,
    }
    units = dict(zip(taken, ("kg", "cm", "C") if metric else ("lb", "in", "F"), strict=True))
    with_cuff = age >= 3
    clean = {
        "taken_at": visit.after(5),
        **taken,
        **{f"{name}_unit": units[name] if taken[name] is not None else None for name in taken},
        "systolic": systolic if with_cuff else None,
        "diastolic": diastolic if with_cuff else None,
        "heart_rate": rate,
        "spo2": min(round(rng.gauss(92 if "COPD" in person.problems else 97.5, 1)), 100)
        if rng.random() < 0.75
        else None,
    }
    return _add(world, person, visit, "vitals", clean, rng.choice(visit.clinic.staff))


def _laboratory(world: World, person: Person, visit: Visit, panel: str) -> None:
    rng = world.rng
    status = rng.choices("FCPOX", (90, 4, 2, 2, 2))[0]
    done = status in "FCP"
    reported = visit.after(0).replace(hour=9, minute=rng.randrange(60)) + timedelta(days=rng.randrange(1, 3))
    clean = {
        "panel_code": panel,
        "accession_no": f"{world.next_key('accession'):09}",
        "ordered_at": visit.after(10),
        "collected_at": visit.after(15) if done else None,
        "reported_at": reported if done else None,
        "status_code": status,
    }
    order = _add(world, person, visit, "lab_order", clean, visit.doctor, days=3)
    tests = clinical.PANELS[panel] if done else ()
    for test in tests[: max(len(tests) // 2, 1)] if status == "P" else tests:
        order.children.append(_result(world, person, visit, order, test))


def _result(world: World, person: Person, visit: Visit, order: Record, test: str) -> Record:
    rng = world.rng
    if visit.clinic.unit == "prairie":
        test = clinical.SI_TESTS.get(test, test)
    clean: dict[str, Any] = {
        "order_id": order.key,
        "test_code": test,
        "collected_at": visit.after(15),
        "status_code": "F",
    }
    if test in clinical.QUALITATIVE:
        positive = ("UTI" in visit.reasons and test in ("ULEU", "UNIT")) or rng.random() < 0.06
        words = ("POS", "Positive", "Trace") if positive else ("NEG", "Negative", "Neg")
        clean |= {"result_text": rng.choice(words), "unit_text": None, "ref_low": None, "ref_high": None,
                  "abnormal_flag": "A" if positive else "N"}  # fmt: skip
    else:
        value, flag = clinical.result(test, person.problems, rng)
        unit, low, high, *_, decimals = clinical.TESTS[test]
        clean |= {"result_text": f"{value:.{decimals}f}", "unit_text": unit, "ref_low": str(low), "ref_high": str(high),
                  "abnormal_flag": flag}  # fmt: skip
    return _add(world, person, visit, "lab_result", clean, days=2)


def _vaccines(world: World, person: Person, visit: Visit) -> None:
    rng, day = world.rng, visit.start.date()
    for code, youngest, oldest in clinical.VACCINES:
        season = code == "FLU" and day.month >= 9
        key = f"FLU{day.year}" if code == "FLU" else code
        wanted = rng.random() < (0.6 if season else 0.2 if youngest < 2 else 0.11)
        if not wanted or (code == "FLU" and not season) or key in person.vaccinated:
            continue
        if youngest <= person.age(day) <= oldest:
            person.vaccinated.add(key)
            _vaccine(world, person, visit, code)


def _vaccine(world: World, person: Person, visit: Visit, code: str) -> None:
    rng = world.rng
    given = rng.random() < 0.97
    thigh = person.age(visit.start.date()) < 2
    clean = {
        "vaccine_code": code, "given_on": visit.after(0).date(), "status_code": "G" if given else "R",
        "lot_no": f"{rng.choice('ABFKMU')}{rng.randrange(10_000):04}{rng.choice('AB')}" if given else None,
        "site_code": rng.choice(("LT", "RT") if thigh else ("LA", "RA")) if given else None,
    }  # fmt: skip
    _add(world, person, visit, "immunization", clean, rng.choice(visit.clinic.staff))


_FEELS = ("Doing well.", "Symptoms unchanged.", "Better than last time.")
_SEEN = ("Lungs clear.", "Heart regular, no murmur.", "Abdomen soft.", "No distress.")
_PLANS = ("Continue medication.", "Laboratory as ordered.", "Return if worse.", "Follow up in 3 months.")


def _note(world: World, person: Person, visit: Visit, reason: str, vitals: Record | None) -> None:
    rng, age = world.rng, person.age(visit.start.date())
    known = {i.code: i.text for i in clinical.ILLNESSES}
    problems = ", ".join(known[c] for c in sorted(person.problems)) or "none"
    pressure = ""
    if vitals and vitals.clean["systolic"]:
        pressure = f"BP {vitals.clean['systolic']}/{vitals.clean['diastolic']}, HR {vitals.clean['heart_rate']}."
    lines = (
        f"S: {age} year old patient, {reason}. {rng.choice(_FEELS)}",
        f"O: {pressure} {rng.choice(_SEEN)}",
        f"A: {reason}. Known problems: {problems}.",
        f"P: {rng.choice(_PLANS)}",
    )
    clean = {
        "kind_code": rng.choice(("PROG", "PROG", "PROG", "HP", "CONS", "MISC")),
        "written_at": visit.after(20),
        "title": rng.choice((f"Visit: {reason}", None, "")),
        "body": "\n".join(lines),
        "status_code": rng.choices("FDAE", (93, 3, 3, 1))[0],
    }
    _add(world, person, visit, "note", clean, visit.doctor)
