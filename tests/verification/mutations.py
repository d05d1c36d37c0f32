"""The corruptions of the mutation suite: what is changed in one resource, as a person would describe the accident.

`checks` are the names, by their beginning, of which one must find it although the manifest was made to agree with the
altered resource: then neither version nor hash betrays it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Resource = dict[str, Any]


@dataclass(frozen=True)
class Edit:
    """A change of one resource of an entity's slot. `fits` says which resources it can be made to."""

    name: str
    entity: str
    change: Callable[[Resource], Any]
    checks: tuple[str, ...] = ("value:",)
    fits: Callable[[Resource], Any] = lambda _: True
    slot: str = "main"


def set_(*path: Any) -> Callable[[Resource], Any]:
    """A change that sets the value (last of `path`) at the place that the rest of it names."""

    def change(resource: Resource) -> None:
        *steps, last, value = path
        for step in steps:
            resource = resource[step]
        resource[last] = value(resource.get(last)) if callable(value) else value

    return change


def drop(*path: Any) -> Callable[[Resource], Any]:
    def change(resource: Resource) -> None:
        *steps, last = path
        for step in steps:
            resource = resource[step]
        del resource[last]

    return change


def has(*path: Any) -> Callable[[Resource], bool]:
    def fits(resource: Any) -> bool:
        for step in path:
            try:
                resource = resource[step]
            except (KeyError, IndexError):
                return False
        return True

    return fits


def lacks(*path: Any) -> Callable[[Resource], bool]:
    return lambda resource: not has(*path)(resource)


def holds(*path: Any) -> Callable[[Resource], bool]:
    """The value (last of `path`) stands at the place that the rest of it names."""
    *steps, value = path

    def fits(resource: Any) -> bool:
        if not has(*steps)(resource):
            return False
        for step in steps:
            resource = resource[step]
        return bool(value(resource) if callable(value) else resource == value)

    return fits


def hours(number: float) -> Callable[[str], str]:
    return lambda text: (datetime.fromisoformat(text) + timedelta(hours=number)).isoformat()


def other_offset(text: str) -> str:
    """The same moment, told in another zone."""
    return datetime.fromisoformat(text).astimezone(ZoneInfo("Asia/Tokyo")).isoformat()


def days(number: int) -> Callable[[str], str]:
    return lambda text: (datetime.fromisoformat(text) + timedelta(days=number)).date().isoformat()


def mojibake(text: str) -> str:
    return (text + "é").encode().decode("latin-1")


def swap(one: str, other: str) -> Callable[[str], str]:
    return lambda text: other if text == one else one


def off_by_one(code: str) -> str:
    head, _, tail = code.rpartition("-")
    return f"{head}-{int(tail) ^ 1}" if head else str(int(code) + 1)


def truncated(data: str) -> str:
    return base64.b64encode(base64.b64decode(data)[:-3]).decode()


def flipped(data: str) -> str:
    content = bytearray(base64.b64decode(data))
    content[len(content) // 2] ^= 1
    return base64.b64encode(bytes(content)).decode()


def coded(*path: Any) -> Callable[[Resource], bool]:
    """The concept at `path` has a standard code beside the local one."""
    return has(*path, "coding", 1)


def pressure_swapped(resource: Resource) -> None:
    one, other = resource["component"]
    one["valueQuantity"], other["valueQuantity"] = other["valueQuantity"], one["valueQuantity"]


def error_lost(resource: Resource) -> None:
    """A record entered in error becomes an active one: the worst of the lost negations."""
    del resource["verificationStatus"]
    active = {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
    resource["clinicalStatus"] = {"coding": [active]}


def error_invented(resource: Resource) -> None:
    del resource["clinicalStatus"]
    system = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
    resource["verificationStatus"] = {"coding": [{"system": system, "code": "entered-in-error"}]}


def limits_swapped(resource: Resource) -> None:
    limits = resource["referenceRange"][0]
    limits["low"], limits["high"] = limits["high"], limits["low"]


def phone_use_swapped(resource: Resource) -> None:
    phone = next(t for t in resource["telecom"] if t["system"] == "phone")
    phone["use"] = "work" if phone["use"] != "work" else "home"


def accept_all(resource: Resource) -> None:
    for participant in resource["participant"]:
        participant["status"] = "accepted"


def rooms(resource: Resource) -> list[dict[str, str]]:
    return [p["actor"] for p in resource["participant"] if p["actor"]["reference"].startswith("Location/")]


def other_room(resource: Resource) -> None:
    rooms(resource)[0]["reference"] = "@location"


def words_for_number(resource: Resource) -> None:
    resource["valueString"] = str(resource.pop("valueQuantity")["value"])


def next_digit(text: str) -> str:
    return text[:-1] + str((int(text[-1]) + 1) % 10)


def identifier_doubled(resource: Resource) -> None:
    first = resource["identifier"][0]
    resource["identifier"].append({**first, "value": first["value"] + "0"})


REFILLS = ("dispenseRequest", "numberOfRepeatsAllowed")
FILE = ("content", 0, "attachment")
DRUG = ("medicationCodeableConcept",)
LANGUAGE = ("communication", 0, "language")

ODD_BASES = {
    "comma": "https://legacy.example/a,b",
    "dollar": "https://legacy.example/a$b",
    "backslash": "https://legacy.example/?a=\\b",
}
"""Identifier bases that hold what separates values in a search. A plan with a bar in its base is refused."""

BLIND = {
    "a search of a system finds nothing": "[?]identifier=[^,]*[|]$",
    "no search finds anything": "",
}
"""Faults of a server that answers 200 and total 0 to searches: what is asked for, as a regular expression."""

DANGLING = "00000000-0000-4000-8000-000000000000"

EDITS = [
    # -- a patient's particulars
    Edit("birth date shifted by a day", "patient", set_("birthDate", days(1)), fits=has("birthDate")),
    Edit("birth date lost its day", "patient", set_("birthDate", lambda d: d[:7]), fits=has("birthDate")),
    Edit("birth date lost", "patient", drop("birthDate"), fits=has("birthDate")),
    Edit("gender of another", "patient", set_("gender", swap("male", "female")), fits=has("gender")),
    Edit("name in the wrong charset", "patient", set_("name", 0, "family", mojibake)),
    Edit("name with a trailing blank", "patient", set_("name", 0, "family", lambda f: f + " ")),
    Edit("NULL became a word", "patient", set_("name", 0, "suffix", ["NULL"]), fits=lacks("name", 0, "suffix")),
    Edit("middle name lost", "patient", set_("name", 0, "given", lambda g: g[:1]), fits=has("name", 0, "given", 1)),
    Edit("death invented", "patient", set_("deceasedDateTime", "2024-01-02"), fits=lacks("deceasedDateTime")),
    Edit(
        "death before birth",
        "patient",
        set_("deceasedDateTime", "1899-01-02"),
        ("meaning: chronology",),
        has("birthDate"),
    ),
    Edit("flag beside no date", "patient", set_("deceasedBoolean", False), fits=lacks("deceasedDateTime")),
    Edit(
        "phone digit",
        "patient",
        set_("telecom", 0, "value", next_digit),
        fits=holds("telecom", 0, "value", lambda v: v[-1].isdecimal()),
    ),
    Edit("phone of another place", "patient", phone_use_swapped, fits=holds("telecom", 0, "system", "phone")),
    Edit(
        "leading zeros lost",
        "patient",
        set_("identifier", 1, "value", lambda v: v.lstrip("0")),
        fits=holds("identifier", 1, "value", lambda v: v[0] == "0"),
    ),
    Edit("language of another", "patient", set_(*LANGUAGE, "coding", 0, "code", "tlh"), fits=coded(*LANGUAGE)),
    Edit("clinic of another", "patient", set_("managingOrganization", "reference", "@clinic")),
    Edit("tag lost", "patient", drop("meta", "tag"), ("meaning: source and tag",)),
    Edit("source lost", "patient", drop("meta", "source"), ("meaning: source and tag",)),
    Edit("identifier of another row", "patient", set_("identifier", 0, "value", "987654"), ("identifiers:",)),
    Edit("two identifiers", "patient", identifier_doubled, ("identifiers:",)),
    # -- encounters and appointments
    Edit("start without its offset", "encounter", set_("period", "start", lambda t: t[:-6] + "+00:00")),
    Edit("start in another zone", "encounter", set_("period", "start", other_offset)),
    Edit(
        "end before the start",
        "encounter",
        set_("period", "end", hours(-48)),
        ("meaning: chronology",),
        has("period", "end"),
    ),
    Edit("end lost", "encounter", drop("period", "end"), fits=has("period", "end")),
    Edit("wrong status", "encounter", set_("status", "cancelled"), fits=holds("status", "finished")),
    Edit("wrong class", "encounter", set_("class", "code", "IMP")),
    Edit("visit of another patient", "encounter", set_("subject", "reference", "@patient")),
    Edit("clinician lost", "encounter", drop("participant"), fits=has("participant")),
    Edit(
        "reason cut off",
        "encounter",
        set_("reasonCode", 0, "text", lambda t: t[: len(t) // 2].strip()),
        fits=has("reasonCode", 0, "text"),
    ),
    Edit("before birth", "encounter", set_("period", "start", "1801-01-01T08:00:00-05:00"), ("meaning: within",)),
    Edit("appointment end an hour off", "appointment", set_("end", hours(1))),
    Edit("appointment room of another", "appointment", other_room, fits=rooms),
    Edit("asked for became accepted", "appointment", accept_all, fits=holds("status", "pending")),
    # -- measures
    Edit("weight doubled", "vitals", set_("valueQuantity", "value", lambda v: v * 2), slot="weight"),
    Edit("weight in another unit", "vitals", set_("valueQuantity", "code", swap("kg", "[lb_av]")), slot="weight"),
    Edit("sign lost", "vitals", set_("valueQuantity", "value", lambda v: -v), slot="temperature"),
    Edit(
        "decimals lost",
        "vitals",
        set_("valueQuantity", "value", int),
        fits=holds("valueQuantity", "value", lambda v: v % 1),
        slot="weight",
    ),
    Edit("a second value", "vitals", set_("valueString", "normal"), slot="spo2"),
    Edit("value became words", "vitals", words_for_number, slot="heart_rate"),
    Edit("systolic and diastolic swapped", "vitals", pressure_swapped, slot="blood_pressure"),
    Edit("a component lost", "vitals", set_("component", lambda c: c[:1]), slot="blood_pressure"),
    Edit("code off by one", "vitals", set_("code", "coding", 0, "code", off_by_one), slot="height"),
    Edit(
        "visit of another", "vitals", set_("encounter", "reference", "@encounter"), fits=has("encounter"), slot="weight"
    ),
    Edit("time of day lost", "vitals", set_("effectiveDateTime", lambda t: t[:10]), slot="weight"),
    Edit("comparator lost", "lab_result", drop("valueQuantity", "comparator"), fits=has("valueQuantity", "comparator")),
    Edit(
        "result in another unit",
        "lab_result",
        set_("valueQuantity", "code", "mmol/L"),
        fits=holds("valueQuantity", "code", "mg/dL"),
    ),
    Edit(
        "limits swapped", "lab_result", limits_swapped, fits=holds("referenceRange", 0, lambda limits: len(limits) == 2)
    ),
    Edit(
        "high became low",
        "lab_result",
        set_("interpretation", 0, "coding", 0, "code", "L"),
        fits=holds("interpretation", 0, "coding", 0, "code", "H"),
    ),
    Edit("result lost", "lab_result", drop("valueQuantity"), fits=has("valueQuantity")),
    Edit("result in words", "lab_result", words_for_number, fits=has("valueQuantity")),
    Edit("a result of the report lost", "lab_order", set_("result", lambda r: r[:-1]), fits=has("result", 1)),
    Edit(
        "a result of another report", "lab_order", set_("result", 0, "reference", "@lab_result"), fits=has("result", 0)
    ),
    Edit("issued a day later", "lab_order", set_("issued", hours(24)), fits=has("issued")),
    Edit("preliminary became final", "lab_order", set_("status", swap("final", "partial"))),
    # -- problems, allergies, drugs
    Edit("entered in error lost", "problem", error_lost, fits=has("verificationStatus")),
    Edit("resolved lost", "problem", drop("abatementDateTime"), fits=has("abatementDateTime")),
    Edit(
        "onset more precise than known",
        "problem",
        set_("onsetDateTime", lambda d: (d + "-01-01")[:10]),
        fits=holds("onsetDateTime", lambda d: len(d) < 10),
    ),
    Edit("diagnosis of another", "problem", set_("code", "coding", 0, "code", off_by_one), fits=coded("code")),
    Edit(
        "standard code lost",
        "problem",
        set_("code", "coding", lambda c: c[1:]),
        ("meaning: approved codes",),
        coded("code"),
    ),
    Edit("local code lost", "problem", set_("code", "coding", lambda c: c[:1]), fits=coded("code")),
    Edit("allergy called an error", "allergy", error_invented, fits=has("clinicalStatus")),
    Edit(
        "severity softened",
        "allergy",
        set_("reaction", 0, "severity", swap("mild", "severe")),
        fits=has("reaction", 0, "severity"),
    ),
    Edit("reaction lost", "allergy", drop("reaction"), fits=has("reaction")),
    Edit("drug allergy called food", "allergy", set_("category", ["food"]), fits=holds("category", ["medication"])),
    Edit("do not take", "prescription", set_("doNotPerform", True)),
    Edit("no refills became unknown", "prescription", drop(*REFILLS), fits=holds(*REFILLS, 0)),
    Edit("refills more", "prescription", set_(*REFILLS, lambda n: n + 1), fits=has(*REFILLS)),
    Edit(
        "directions changed",
        "prescription",
        set_("dosageInstruction", 0, "text", lambda t: t + " twice"),
        fits=has("dosageInstruction", 0),
    ),
    Edit("drug off by one", "prescription", set_(*DRUG, "coding", 0, "code", off_by_one), fits=coded(*DRUG)),
    Edit("stopped became active", "prescription", set_("status", "active"), fits=holds("status", "stopped")),
    Edit("refused became given", "immunization", set_("status", "completed"), fits=holds("status", "not-done")),
    Edit("vaccination a day off", "immunization", set_("occurrenceDateTime", days(-1))),
    Edit("lot of another", "immunization", set_("lotNumber", lambda n: n[::-1] + "X"), fits=has("lotNumber")),
    # -- documents
    Edit("note cut off", "note", set_(*FILE, "data", truncated), ("document:",)),
    Edit("note in another charset", "note", set_(*FILE, "contentType", "text/plain; charset=latin1"), ("document:",)),
    Edit("note's signature lost", "note", set_("docStatus", "preliminary"), fits=holds("docStatus", "final")),
    Edit("document cut off", "document", set_(*FILE, "data", truncated), ("document:",)),
    Edit("document with one bit flipped", "document", set_(*FILE, "data", flipped), ("document:",)),
    Edit(
        "document of another type",
        "document",
        set_(*FILE, "contentType", "image/png"),
        ("document:",),
        holds(*FILE, "contentType", lambda t: t != "image/png"),
    ),
    # -- the rest
    Edit(
        "payer of another",
        "coverage",
        set_("payor", 0, "identifier", "value", lambda v: v + "X"),
        fits=has("payor", 0, "identifier"),
    ),
    Edit("policy of another patient", "coverage", set_("beneficiary", "reference", "@patient")),
    Edit("first policy became second", "coverage", set_("order", lambda n: n + 1), fits=has("order")),
    Edit("left staff is back", "staff", set_("active", lambda a: not a)),
    Edit("another role", "assignment", set_("practitioner", "reference", "@staff")),
    Edit("closed room open", "location", set_("status", swap("active", "suspended"))),
    Edit("another group", "clinic", drop("partOf")),
    Edit("NPI digit", "organization", set_("identifier", 1, "value", next_digit)),
    # -- references as such
    Edit("urn left", "problem", set_("subject", "reference", f"urn:uuid:{DANGLING}"), ("references: literal",)),
    Edit("dangling", "note", set_("subject", "reference", f"Patient/{DANGLING}"), ("references resolve",)),
    Edit(
        "reference of another type",
        "problem",
        set_("recorder", "reference", "@patient"),
        ("references: literal", "value:"),
        has("recorder"),
    ),
]
