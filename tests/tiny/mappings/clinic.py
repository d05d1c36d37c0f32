from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping


@mapping(entity="clinic", version="1", owner="test", produces={"main": "Organization"}, references=("clinic",))
def clinic(row: Row, ctx: Context) -> Iterator[Resource]:
    yield ctx.resource(name=ctx.text(row["name"]), partOf=ctx.reference("clinic", row["parent_id"]))
