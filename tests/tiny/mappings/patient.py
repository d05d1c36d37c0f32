from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping


@mapping(entity="patient", version="1", owner="test", produces={"main": "Patient"}, references=("clinic",))
def patient(row: Row, ctx: Context) -> Iterator[Resource]:
    if row["deleted_at"]:
        raise ctx.skip("soft-deleted")
    yield ctx.resource(
        name=[{"family": ctx.text(row["family"], "family")}],
        birthDate=ctx.date(row["born"], "born"),
        gender=ctx.required_code("sex", row["sex"], "sex"),
        managingOrganization=ctx.reference("clinic", row["clinic_id"]),
    )
