from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping


@mapping(
    entity="staff",
    version="1",
    owner="test",
    produces={"main": "Practitioner", "role": "PractitionerRole"},
    references=("clinic",),
)
def staff(row: Row, ctx: Context) -> Iterator[Resource]:
    # The role comes first on purpose: the load must find out that it needs the practitioner.
    yield ctx.resource(
        "role", practitioner=ctx.reference("staff", ctx.key), organization=ctx.reference("clinic", row["clinic_id"])
    )
    yield ctx.resource(name=[{"family": ctx.text(row["family"], "family")}])
