"""A patient's chart: insurance, problems, allergies, visits, prescriptions, documents, coming appointments."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from demo_clinics import clinical
from demo_clinics.person import TODAY, Person, add_person
from demo_clinics.record import AS_OF, at
from demo_clinics.visit import Visit, add_appointment, add_visit
from demo_clinics.world import World

_FIRST_DAY = date(2019, 1, 7)
_PAYERS = {
    "BCBS": "Blue Harbor Health Plan",
    "AETN": "Atlantic Mutual",
    "UHC": "Union Health",
    "MCAID": "Medicaid",
    "MCARE": "Medicare",
}
# Records of no real person have hardly anything in them.
_EMPTY_KINDS = frozenset({"test-record", "merged", "soft-deleted"})


def add_patient(world: World, canary: str | None) -> None:
    """Add one patient and everything that hangs on them."""
    person = add_person(world, canary)
    kind = person.record.kind
    if kind and kind.name in _EMPTY_KINDS:
        if world.rng.random() < 0.5:
            _coming(world, person)
        return
    _coverage(world, person)
    _allergies(world, person)
    visits = _plan_visits(world, person)
    _illnesses(world, person, visits)
    for visit in visits:
        add_visit(world, person, visit)
    _prescriptions(world, person, visits)
    _problems(world, person, visits)
    _documents(world, person, visits)
    if person.died is None and world.rng.random() < 0.3:
        _coming(world, person)


def _coming(world: World, person: Person) -> None:
    day = TODAY + timedelta(days=world.rng.randrange(1, 60))
    start = at(day, world.rng.randrange(8, 16), world.rng.choice((0, 15, 30, 45)))
    add_appointment(world, person, world.rng.choice(person.clinics), start, world.rng.choice("BBBP"), "follow-up")


def _coverage(world: World, person: Person) -> None:
    rng, age, clinic = world.rng, person.age(TODAY), person.clinics[0]
    payers = ["MCARE"] if age >= 65 else [rng.choice(("BCBS", "AETN", "UHC", "MCAID"))] if rng.random() < 0.92 else []
    if payers and rng.random() < 0.12:
        payers.append(rng.choice(("BCBS", "AETN", "UHC")))
    for priority, payer in enumerate(payers, 1):
        start = max(date(rng.randrange(2015, 2021), 1, 1), person.born)
        clean = {
            "payer_code": payer,
            "payer_name": _PAYERS[payer],
            "member_no": f"{rng.randrange(10**7):010}",
            "group_no": f"G{rng.randrange(1000):04}" if payer not in ("MCARE", "MCAID") else None,
            "relationship_code": "C" if age < 18 else rng.choice("SSSSPO"),
            "priority": priority,
            "start_on": start,
            "end_on": max(start, date(2023, 12, 31)) if rng.random() < 0.1 else None,
            "status_code": "A" if rng.random() < 0.95 else "C",
        }
        world.add(
            "coverage", clinic.unit, clinic.zone, clean, {"patient_id": person.record}, AS_OF - timedelta(days=200)
        )


def _plan_visits(world: World, person: Person) -> list[Visit]:
    """Two to five visits on weekdays during opening hours, after birth and before death."""
    rng = world.rng
    first, last = max(_FIRST_DAY, person.born + timedelta(days=14)), person.last_day
    count = 2 + sum(rng.random() < min(person.age(TODAY) / 90, 0.8) for _ in range(3))
    starts = set()
    for _ in range(count):
        day = first + timedelta(days=rng.randrange((last - first).days + 1))
        day -= timedelta(days=max(day.weekday() - 4, 0))
        starts.add(at(max(day, first), rng.randrange(8, 16), rng.choice((0, 15, 30, 45))))
    return [Visit(start, rng.choice(person.clinics), []) for start in sorted(starts)]


def _illnesses(world: World, person: Person, visits: list[Visit]) -> None:
    """Decide the problems: chronic ones are known from the first visit, the others belong to one visit."""
    rng = world.rng
    for illness in clinical.ILLNESSES:
        if rng.random() >= clinical.risk(illness, person.age(visits[-1].start.date())):
            continue
        if illness.chronic:
            person.problems.add(illness.code)
            for visit in visits:
                visit.reasons.append(illness.code)
        else:
            visits[-1 if rng.random() < 0.7 else 0].reasons.insert(0, illness.code)
    for visit in visits:
        rng.shuffle(visit.reasons)


def _problems(world: World, person: Person, visits: list[Visit]) -> None:
    done = [v for v in visits if v.encounter]
    for illness in clinical.ILLNESSES:
        visit = next((v for v in done if illness.code in v.reasons), None)
        if visit:
            _problem(world, person, visit, illness)


def _problem(world: World, person: Person, visit: Visit, illness: clinical.Illness) -> None:
    rng, seen = world.rng, visit.after(10)
    if illness.chronic:
        grown = timedelta(days=365 * illness.bands[0][0])
        earliest = max(person.born + grown, seen.date() - timedelta(days=3650))
        onset = earliest + timedelta(days=rng.randrange(max((seen.date() - earliest).days, 1)))
        onset = min(onset, seen.date())
        status, resolved = rng.choices("AIE", (96, 3, 1))[0], None
    else:
        onset = max(seen.date() - timedelta(days=rng.randrange(1, 6)), person.born)
        resolved = seen.date() + timedelta(days=rng.randrange(10, 40))
        status, resolved = ("R", resolved) if resolved <= person.last_day else ("A", None)
    clean = {
        "problem_code": illness.code, "problem_text": rng.choice((illness.text, illness.text.upper())),
        "onset_date": onset.isoformat(), "resolved_on": resolved, "recorded_at": seen, "status_code": status,
    }  # fmt: skip
    touched = max(at(resolved, 12), seen) if resolved else seen + timedelta(hours=2)
    references = {"patient_id": person.record} | ({"staff_id": visit.doctor} if visit.doctor else {})
    world.add("problem", visit.clinic.unit, visit.clinic.zone, clean, references, touched)


def _allergies(world: World, person: Person) -> None:
    rng, clinic = world.rng, person.clinics[0]
    count = rng.choices((0, 1, 2), (68, 24, 8))[0]
    weights = [a[4] for a in clinical.ALLERGIES]
    chosen = {a[0]: a for a in rng.choices(clinical.ALLERGIES, weights, k=count)}
    for code, text, kind, reactions, _ in chosen.values():
        person.allergies.add(code)
        reaction = rng.choice(reactions) if rng.random() < 0.8 else None
        recorded = at(max(_FIRST_DAY, person.born + timedelta(days=20)), 9, rng.randrange(60))
        onset = person.born + (recorded.date() - person.born) * rng.random()
        clean = {
            "substance_code": code, "substance_text": text, "kind_code": kind,
            "severity_code": clinical.SEVERITY.get(reaction, "MI") if reaction else None, "reaction_text": reaction,
            "onset_date": onset.isoformat() if rng.random() < 0.7 else None, "recorded_at": recorded,
            "status_code": rng.choices("AIRE", (94, 3, 2, 1))[0],
        }  # fmt: skip
        references = {"patient_id": person.record, "staff_id": rng.choice(clinic.staff)}
        world.add("allergy", clinic.unit, clinic.zone, clean, references, recorded + timedelta(hours=1))


def _prescriptions(world: World, person: Person, visits: list[Visit]) -> None:
    """Chronic drugs from the first visit, renewed at some later ones, the last active. Nobody gets what harms them."""
    rng = world.rng
    done = [v for v in visits if v.encounter]
    for illness in clinical.ILLNESSES:
        at_visits = [v for v in done if illness.code in v.reasons]
        drugs = [d for d in illness.drugs if not clinical.AVOID.get(d[0], set()) & person.allergies]
        if not at_visits or not drugs:
            continue
        drug = rng.choice(drugs)
        renewed = [v for v in at_visits[1:] if rng.random() < 0.3]
        for visit in (chosen := [at_visits[0], *renewed]):
            last = visit is chosen[-1]
            status = "A" if illness.chronic and last and person.died is None else rng.choice("CCCD")
            _prescription(world, person, visit, drug, status)


def _prescription(
    world: World, person: Person, visit: Visit, drug: tuple[str, str, str, int, int], status: str
) -> None:
    code, text, sig, quantity, refills = drug
    clean = {
        "drug_code": code, "drug_text": text, "sig_text": sig, "quantity": float(quantity), "refills": refills,
        "written_at": visit.after(18), "status_code": status,
    }  # fmt: skip
    assert visit.encounter and visit.doctor
    references = {"patient_id": person.record, "staff_id": visit.doctor, "encounter_id": visit.encounter}
    world.add("prescription", visit.clinic.unit, visit.clinic.zone, clean, references, visit.after(60))


def _documents(world: World, person: Person, visits: list[Visit]) -> None:
    rng = world.rng
    for visit in visits:
        if visit.encounter and rng.random() < 0.15:
            kind = rng.choice(("REFL", "CONSENT", "SCAN", "INSCARD"))
            clean: dict[str, Any] = {
                "kind_code": kind,
                "received_at": visit.after(30),
                "mime_type": "application/pdf",
                "file_name": f"{kind.lower()}{rng.randrange(10**6):06}.pdf",
                "content": _pdf(kind, rng.randrange(10**6)),
            }
            key = str(UUID(int=rng.getrandbits(128), version=4))
            references = {"patient_id": person.record, "encounter_id": visit.encounter}
            world.add("document", visit.clinic.unit, visit.clinic.zone, clean, references, visit.after(90), key=key)


def _pdf(kind: str, number: int) -> bytes:
    """A page with one line of text, as small as a PDF can be."""
    text = f"BT /F1 18 Tf 72 720 Td ({kind} {number:06}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(text), text), b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]  # fmt: skip
    body, offsets = b"%PDF-1.4\n", []
    for number_, item in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number_, item)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(body)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer
