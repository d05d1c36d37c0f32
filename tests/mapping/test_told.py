"""Of what a mapping's code hands over, its author's words are told, and no value of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medferry.definition.words import source_words, unwritten_reasons
from medferry.mapping import Context, mapping
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.mapping.apply_inverse import apply_inverse, by_slot
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import Resource, Row
from medferry.mapping.identity import Naming
from medferry.mapping.inverse import Columns, inverse
from medferry.mapping.inverse_context import InverseContext
from medferry.mapping.outcomes import Quarantine, Skip
from medferry.mapping.told import told_field, told_path, told_reason
from medferry.mapping.values import zone_of
from medferry.source.legacy_table import legacy_table

SECRET = "Lovelace"
"""In lower case it stands nowhere here."""

SOFT = "soft-" + "deleted"
ROW = {"id": 7, "family": SECRET}


def settings(*specs: Any, words: frozenset[str] = source_words([Path(__file__)])) -> MappingSettings:
    known = {spec.entity: spec for spec in specs}
    return MappingSettings(Naming("https://x.example", "m"), zone_of("UTC"), {}, known, words=words)


def mapped(function: Callable[[Row, Context], Any]) -> MappedRow:
    spec = mapping(entity="e", version="1", owner="o", produces={"main": "Patient"})(function)
    return apply_mapping(spec, ROW, "7", settings(spec))


def skips(row: Row, ctx: Context) -> Iterator[Resource]:
    raise ctx.skip(row["family"].lower())
    yield


def quarantines(row: Row, _: Context) -> Iterator[Resource]:
    raise Quarantine(f"of-{row['family'].lower()}", row["family"].lower())
    yield


def finds(row: Row, ctx: Context) -> Iterator[Resource]:
    ctx.finding(row["family"].lower(), row["family"].lower())
    yield ctx.resource()


@pytest.mark.parametrize("function", [skips, quarantines, finds])
def test_a_value_is_no_reason_however_it_is_spelt(function: Callable[[Row, Context], Any]) -> None:
    found = mapped(function)
    assert SECRET.lower() not in repr(found).lower()
    assert "test_told.py:" in found.place and "not written in the mappings" in found.place
    assert "reason-withheld" in (found.reason, *(one.reason for one in found.findings))


def test_what_is_written_is_told() -> None:
    def made(row: Row, ctx: Context) -> Iterator[Resource]:
        ctx.finding("left-out", "family")
        ctx.finding("sentinel-date", "address")
        raise Skip(SOFT)
        yield

    found = mapped(made)
    assert (found.reason, found.place) == ("soft-deleted", "")
    assert [(one.reason, one.field) for one in found.findings] == [("left-out", "family"), ("sentinel-date", "address")]


def test_an_inverse_tells_no_value_either() -> None:
    spec = mapping(entity="e", version="1", owner="o", produces={"main": "Patient"})(lambda _, ctx: [ctx.resource()])

    @inverse(entity="e", tables=[legacy_table("e", key="id", columns=("family",))])
    def back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
        said = str((resource.get("name") or [{}])[0].get("family", "")).lower()
        ctx.cannot(said or "nothing", f"name.{said}", said)
        ctx.cannot("no-place", f"name[{0}].family", "family")
        return {}

    made = settings(spec)
    resource = dict(by_slot(spec, apply_mapping(spec, ROW, "7", made).resources, made)["main"])
    changes = apply_inverse(spec, back, ROW, "7", {"main": resource | {"name": [{"family": SECRET}]}}, made)
    told = [(one.path, one.reason, one.detail) for one in changes.cannot_express]
    assert ("", "reason-withheld", "") in told
    assert SECRET.lower() not in repr(told).lower()
    plain = apply_inverse(spec, back, ROW, "7", {}, made)
    assert plain.cannot_express == ()


def test_what_is_of_nobodys_source_is_not_told() -> None:
    made = settings(words=frozenset({"soft-deleted", "component[", "].valueQuantity", "page"}))
    assert [told_reason(one, made) for one in ("soft-deleted", "byron", "no-place")] == [
        "soft-deleted", "reason-withheld", "no-place"]  # fmt: skip
    assert told_path("component[3].valueQuantity.text", made) and not told_path("component.byron", made)
    assert told_field("page", {"family": "page"}, made) == "" and told_field("page", {"page": "x"}, made) == "page"


def test_a_reason_that_is_put_together_is_found_in_the_source(tmp_path: Path) -> None:
    path = tmp_path / "patient.py"
    path.write_text(
        'raise ctx.skip("plain")\n'
        'raise ctx.skip("a-" + "b")\n'
        "raise ctx.skip(REASON)\n"
        'raise ctx.skip(row["family"])\n'
        'ctx.finding(f"no-{name}", "x")\n'
        'raise Quarantine(row["x"].lower())\n'
        'ctx.cannot("a" if x else str(y), path)\n'
    )
    assert unwritten_reasons([path]) == [(path, line) for line in (4, 5, 6, 7)]
    assert {"plain", "a-b"} <= source_words([path, tmp_path / "none.py"])
