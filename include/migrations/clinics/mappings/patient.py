"""Patients, with the address, phones and identifiers that the legacy system keeps in tables of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.datatypes import contact_point, element, identifier, present
from medferry.mapping.inverse import KEEP, Inexpressible

from ._back import inside, single
from ._columns import date, flag, is_later, skip_deleted, text
from ._datatypes import address, local_identifier

SSN = "http://hl7.org/fhir/sid/us-ssn"
_PLACEHOLDER_SSNS = {"000000000", "999999999", "123456789"}
_KEPT_APART: dict[str, Any] = {"optional": True, "touched": "updated_at", "removed": "deleted_at"}
"""Of tables that have a row only where there is something to keep."""


@mapping(
    entity="patient",
    version="1.0.0",
    owner="patient-data",
    status="approved",
    produces={"main": "Patient"},
    references=("clinic", "staff"),
)
def patient(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Patient. Merged and test records stay behind."""
    skip_deleted(ctx, row)
    if row["merged_into"] is not None:
        raise ctx.skip("merged-duplicate")
    if flag(ctx, row, "test_flag"):
        raise ctx.skip("test-record")
    birth, death = _life(ctx, row)
    language = ctx.code("language", row["language_code"], "language_code")
    yield ctx.resource(
        identifier=_identifiers(ctx, row),
        active=True,
        name=[_name(ctx, row)],
        telecom=_telecoms(ctx, row),
        gender=ctx.row.optional_code("sex", "sex_code"),
        birthDate=birth,
        deceasedDateTime=death,
        address=address(ctx, row, "address_line1", "address_line2", use="home"),
        maritalStatus=ctx.code("marital_status", row["marital_code"], "marital_code"),
        communication=present(element(language=language)),
        generalPractitioner=present(ctx.reference("staff", row["pcp_staff_id"])),
        managingOrganization=ctx.reference("clinic", row["home_clinic_id"]),
    )


def _life(ctx: Context, row: Row) -> tuple[str | None, str | None]:
    """Days of birth and death. Raises Quarantine('impossible-date') when they contradict each other or the record."""
    birth, death = date(ctx, row, "birth_date"), date(ctx, row, "deceased_on")
    if birth and is_later(birth, row["updated_at"][:10]):
        raise ctx.quarantine("impossible-date", field="birth_date")
    if birth and death and is_later(birth, death):
        raise ctx.quarantine("impossible-date", field="deceased_on")
    return birth, death


def _name(ctx: Context, row: Row) -> dict[str, Any]:
    """The official HumanName. Raises Quarantine('missing-required') without family and given name."""
    family, given = text(ctx, row, "family_name"), text(ctx, row, "given_name")
    if family is None and given is None:
        raise ctx.quarantine("missing-required", field="family_name")
    parts = element(
        family=family,
        given=present(given, text(ctx, row, "middle_name")),
        suffix=present(text(ctx, row, "suffix")),
    )
    return {"use": "official", **(parts or {})}


def _identifiers(ctx: Context, row: Row) -> list[dict[str, Any]]:
    ssn = text(ctx, row, "ssn")
    if ssn and ssn.replace("-", "") in _PLACEHOLDER_SSNS:
        ctx.finding("placeholder-identifier", field="ssn")
        ssn = None
    return present(
        local_identifier(ctx, "mrn", text(ctx, row, "mrn")),
        identifier(SSN, ssn),
        local_identifier(ctx, "medicaid-number", text(ctx, row, "medicaid_number")),
    )


def _telecoms(ctx: Context, row: Row) -> list[dict[str, Any]]:
    return present(
        *(contact_point("phone", text(ctx, row, f"{use}_phone"), use) for use in ("home", "mobile", "work")),
        contact_point("email", text(ctx, row, "email")),
    )


@inverse(
    entity="patient",
    tables=(
        legacy_table(
            "patients",
            key="patient_id",
            columns=(
                *("mrn", "pcp_staff_id", "family_name", "given_name", "middle_name", "suffix", "birth_date"),
                *("sex_code", "deceased_on", "marital_code", "language_code", "email"),
            ),
            touched="updated_at",
        ),
        legacy_table(
            "patient_addresses",
            key="patient_id",
            columns={
                **{"address_line1": "line1", "address_line2": "line2"},
                **{name: name for name in ("city", "state", "postal_code")},
            },
            only={"is_primary": "Y", "deleted_at": None},
            new={"kind_code": "H"},
            **_KEPT_APART,
        ),
        *(
            legacy_table(
                "patient_phones",
                key="patient_id",
                columns={f"{use}_phone": "number"},
                only={"kind_code": kind, "deleted_at": None},
                **_KEPT_APART,
            )
            for use, kind in (("home", "H"), ("mobile", "M"), ("work", "W"))
        ),
        *(
            legacy_table(
                "patient_identifiers",
                key="patient_id",
                columns={column: "value"},
                only={"type_code": kind, "deleted_at": None},
                **_KEPT_APART,
            )
            for column, kind in (("ssn", "SSN"), ("medicaid_number", "MCD"))
        ),
    ),
)
def patient_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:  # noqa: ARG001
    """Demographics. The home clinic stays: a patient who changes it changes the unit."""
    marital, language = resource.get("maritalStatus"), single(ctx, resource, "communication", "language")
    pcp = single(ctx, resource, "generalPractitioner")
    return {
        **_name_back(resource, ctx),
        **_identifiers_back(resource, ctx),
        **_telecoms_back(resource, ctx),
        **_address_back(resource, ctx),
        "sex_code": ctx.code("sex", resource.get("gender"), "sex_code", "gender"),
        "birth_date": ctx.date(resource.get("birthDate"), "birth_date", "birthDate"),
        "deceased_on": ctx.date(resource.get("deceasedDateTime"), "deceased_on", "deceasedDateTime", whole=True),
        "marital_code": ctx.code("marital_status", marital, "marital_code", "maritalStatus"),
        "language_code": ctx.code("language", language, "language_code", "communication.language"),
        "pcp_staff_id": ctx.key("staff", pcp, "pcp_staff_id", "generalPractitioner"),
    }


def _name_back(resource: Resource, ctx: InverseContext) -> Columns:
    """The official name, or the only one without a use."""
    named = {name.get("use", "official"): name for name in reversed(resource.get("name") or [])}
    name = named.get("official", {})
    given, suffixes = name.get("given") or [], name.get("suffix") or []
    middle = ctx.cannot(Inexpressible.NO_PLACE, "name.given") if len(given) > 2 else "".join(given[1:2]) or None
    suffix = ctx.only(suffixes, "name.suffix")
    return ctx.together(
        {
            "family_name": ctx.text(name.get("family"), "family_name", "name.family"),
            "given_name": ctx.text("".join(given[:1]) or None, "given_name", "name.given", 80),
            "middle_name": ctx.text(middle, "middle_name", "name.given", 80),
            "suffix": ctx.text(suffix, "suffix", "name.suffix", 10),
        }
    )


def _identifiers_back(resource: Resource, ctx: InverseContext) -> Columns:
    values = {one.get("system"): one.get("value") for one in reversed(resource.get("identifier") or [])}
    base = ctx.settings.naming.base
    ssn, mrn = values.get(SSN), values.get(f"{base}/mrn")
    if ssn and ssn.replace("-", "") in _PLACEHOLDER_SSNS:
        ssn = ctx.cannot(Inexpressible.READS_OTHERWISE, "identifier", "placeholder-identifier")
    return {
        "mrn": ctx.required(ctx.text(mrn, "mrn", "identifier", 20), "identifier"),
        "ssn": ctx.text(ssn, "ssn", "identifier", 40),
        "medicaid_number": ctx.text(values.get(f"{base}/medicaid-number"), "medicaid_number", "identifier", 40),
    }


def _telecoms_back(resource: Resource, ctx: InverseContext) -> Columns:
    """One phone of each use, one email address of any use."""
    contacts = resource.get("telecom") or []
    phones = {one.get("use"): one.get("value") for one in reversed(contacts) if one.get("system") == "phone"}
    emails = [one.get("value") for one in contacts if one.get("system") == "email"]
    return {
        **{
            f"{use}_phone": ctx.text(phones.get(use), f"{use}_phone", "telecom", 40)
            for use in ("home", "mobile", "work")
        },
        "email": ctx.text(ctx.only(emails, "telecom"), "email", "telecom", 120),
    }


def _address_back(resource: Resource, ctx: InverseContext) -> Columns:
    """The home address in the United States: the legacy system has no country."""
    homes = [one for one in resource.get("address") or [] if one.get("use", "home") == "home"]
    home = ctx.only(homes, "address")
    lines = inside(home, "line") or []
    if home is not None and (home is KEEP or len(lines) > 2 or home.get("country", "US") != "US"):
        home = ctx.cannot(Inexpressible.NO_PLACE, "address")
    one, other = (KEEP, KEEP) if home is KEEP else [*lines, None, None][:2]
    return ctx.together(
        {
            "address_line1": ctx.text(one, "address_line1", "address.line", 120),
            "address_line2": ctx.text(other, "address_line2", "address.line", 120),
            "city": ctx.text(inside(home, "city"), "city", "address.city", 80),
            "state": ctx.text(inside(home, "state"), "state", "address.state", 2),
            "postal_code": ctx.text(inside(home, "postalCode"), "postal_code", "address.postalCode", 10),
        }
    )
