"""Patients, with the address, phones and identifiers that the legacy system keeps in tables of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._columns import date, flag, is_later, optional_code, skip_deleted, text
from ._datatypes import address, element, identifier, local_identifier, present, telecom

SSN = "http://hl7.org/fhir/sid/us-ssn"
_PLACEHOLDER_SSNS = {"000000000", "999999999", "123456789"}


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
        gender=optional_code(ctx, "sex", row, "sex_code"),
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
        *(telecom("phone", text(ctx, row, f"{use}_phone"), use) for use in ("home", "mobile", "work")),
        telecom("email", text(ctx, row, "email")),
    )
