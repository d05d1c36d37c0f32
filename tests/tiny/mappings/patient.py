from collections.abc import Iterator

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping


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


@inverse(entity="patient", tables=(legacy_table("patient", key="id", columns=("family", "born", "sex", "clinic_id")),))
def patient_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    names = resource.get("name") or [{}]
    return {
        "family": ctx.text(names[0].get("family"), "family", "name.family"),
        "born": ctx.date(resource.get("birthDate"), "born", "birthDate"),
        "sex": ctx.code("sex", resource.get("gender"), "sex", "gender"),
        "clinic_id": ctx.key("clinic", resource.get("managingOrganization"), "clinic_id", "managingOrganization"),
    }
