from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping


@mapping(entity="weight", version="1", owner="test", produces={"main": "Observation"}, references=("patient",))
def weight(row: Row, ctx: Context) -> Iterator[Resource]:
    kilograms = ctx.number(row["kg"], "kg")
    if kilograms is None:
        raise ctx.quarantine("missing-required", "kg")
    yield ctx.resource(
        status="final",
        code={"coding": [{"system": "http://loinc.org", "code": "29463-7", "display": "Body weight"}]},
        subject=ctx.reference("patient", row["patient_id"]),
        effectiveDateTime=ctx.instant(row["taken_at"], "taken_at"),
        valueQuantity={
            "value": kilograms,
            "unit": "kg",
            "system": "http://unitsofmeasure.org",
            "code": "kg",
        },
    )
