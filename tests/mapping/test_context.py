"""What a mapping's context gives and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medferry.definition.words import source_words
from medferry.manifest import tables
from medferry.mapping import Context, mapping
from medferry.mapping.apply import apply_mapping
from medferry.mapping.context import MappingFault, MappingSettings
from medferry.mapping.declare import MappingSpec, Resource, Row
from medferry.mapping.identity import Naming
from medferry.mapping.levels import ReferenceCycle, load_levels
from medferry.mapping.outcomes import Finding, Quarantine
from medferry.mapping.terminology import CodeRow, CodeTable
from medferry.mapping.values import zone_of
from medferry.source.types.canonical import binary

SEX = CodeTable(
    "sex",
    {
        "f": CodeRow("F", "Female", "http://s", "female", "Female", "approved"),
        "x": CodeRow("X", "?", "", "", "", "draft"),
    },
)


def spec(entity: str, *references: str, **produces: str) -> MappingSpec:
    declare = mapping(
        entity=entity, version="1", owner="o", produces=produces or {"main": "Patient"}, references=references
    )
    return declare(lambda row, ctx: [ctx.resource(**row)])


@pytest.fixture
def context() -> Context:
    specs = {"patient": spec("patient", "clinic"), "clinic": spec("clinic", main="Organization"), "bed": spec("bed")}
    settings = MappingSettings(
        Naming("https://x.example", "m"),
        zone_of("Europe/Berlin"),
        {"sex": SEX},
        specs,
        null_tokens=frozenset({"N/A"}),
        sentinel_dates=frozenset({"0000-00-00", "0001-01-01", "1900-01-01", "9999-12-31"}),
        column_null_tokens={"patient.result": frozenset({"-"}), "clinic.family": frozenset({"NULL"})},
        words=source_words([Path(__file__)]),
    )
    return Context(specs["patient"], "007", settings)


def test_a_resource_carries_its_name_source_and_tag_and_nothing_empty(context: Context) -> None:
    made = context.resource(active=False, name=[], class_={"code": "AMB"}, note=None, identifier=[{"value": "MRN 1"}])
    assert made == {
        "resourceType": "Patient",
        "meta": {"source": "https://x.example/patient", "tag": [{"system": "urn:medferry:migration", "code": "m"}]},
        "identifier": [{"system": "https://x.example/patient", "value": "007"}, {"value": "MRN 1"}],
        "active": False,
        "class": {"code": "AMB"},
    }


def test_a_reference_is_conditional_and_escaped(context: Context) -> None:
    assert context.reference("clinic", " a|b&c ") == {
        "reference": "Organization?identifier=https://x.example/clinic|%20a%5C%7Cb%26c%20",
        "type": "Organization",
    }
    assert context.reference("clinic", None) is None
    assert context.reference("clinic", "  ") is None


def test_undeclared_references_slots_and_tables_are_faults(context: Context) -> None:
    with pytest.raises(MappingFault, match="bed"):
        context.reference("bed", 1)
    with pytest.raises(MappingFault, match="slot"):
        context.resource("role")
    with pytest.raises(MappingFault, match=r"terminology/colour\.csv"):
        context.code("colour", "red")


def test_text_trims_and_knows_nulls_and_tells_what_it_removed(context: Context) -> None:
    assert context.text("  Ada \x00\x1b ", "family") == "Ada"
    assert [context.text(token) for token in (None, "", "  ")] == [None] * 3
    assert [context.text(text) for text in ("NULL", "-", "--", "n/a")] == ["NULL", "-", "--", "n/a"]  # surname, result
    assert context.text(0) == "0"
    assert context.findings == [Finding("control-characters-removed", "family")]
    with pytest.raises(Quarantine, match="undecodable-text"):
        context.text("caf\udce9")
    for letters in ("O\x92Brien", "Ada\x85", "\x80"):
        with pytest.raises(Quarantine, match="decoded-as-latin-1"):
            context.text(letters, "family")


def test_a_null_token_is_no_value_where_it_is_declared_and_each_use_is_counted(context: Context) -> None:
    assert context.text(" N/A ", "family") is None
    assert context.text("-", "result") is None
    assert context.text("-", "family") == "-"
    assert context.text("NULL", "family") == "NULL"  # of another entity's column
    assert context.findings == [Finding("null-token", "family"), Finding("null-token", "result")]


def test_sentinel_dates_become_nothing_with_a_finding(context: Context) -> None:
    assert context.date("1900-01-01", "born") is None
    assert context.instant("9999-12-31 00:00:00", "seen") is None
    assert context.findings == [Finding("sentinel-date", "born"), Finding("sentinel-date", "seen")]


def test_no_date_is_a_sentinel_that_the_plan_does_not_name(context: Context) -> None:
    shared = context.settings
    plain = Context(context.spec, "1", MappingSettings(shared.naming, shared.zone, shared.tables, shared.specs))
    assert plain.date("1900-01-01", "born") == "1900-01-01"
    assert plain.instant("1900-01-01 08:30:00", "seen") == "1900-01-01T08:30:00+01:00"
    assert plain.findings == []
    with pytest.raises(Quarantine, match="impossible-date"):
        plain.date("0000-00-00", "born")


def test_a_time_of_a_sentinel_s_day_is_one_too(context: Context) -> None:
    assert context.instant("1900-01-01 08:30:00", "seen") is None
    assert context.findings == [Finding("sentinel-date", "seen")]


def test_an_instant_is_of_the_plan_s_zone_or_the_row_s(context: Context) -> None:
    assert context.instant("2024-07-01 10:00:00") == "2024-07-01T10:00:00+02:00"
    assert context.instant("2024-07-01 10:00:00", zone="America/Chicago") == "2024-07-01T10:00:00-05:00"


def test_an_instant_s_own_offset_wins_over_any_zone(context: Context) -> None:
    assert context.instant("2024-07-01 10:00:00-07:00", zone="America/Chicago") == "2024-07-01T10:00:00-07:00"
    assert context.instant("2024-07-01T10:00:00Z") == "2024-07-01T10:00:00+00:00"
    assert context.instant("2024-07-01T10:00:00Z", zone="Nowhere/Atall") == "2024-07-01T10:00:00+00:00"
    assert context.instant("0001-01-01 00:00:00+00", "seen") is None
    assert context.findings == [Finding("sentinel-date", "seen")]


def test_a_code_keeps_the_local_code_always(context: Context) -> None:
    assert context.code("sex", " f ") == {
        "coding": [
            {"system": "http://s", "code": "female", "display": "Female"},
            {"system": "https://x.example/CodeSystem/sex", "code": "f", "display": "Female"},
        ],
        "text": "Female",
    }
    free_text = context.code("sex", "not  sure")
    assert free_text == {"text": "not  sure"}
    assert context.code("sex", "Q") == {
        "coding": [{"system": "https://x.example/CodeSystem/sex", "code": "Q"}],
        "text": "Q",
    }
    assert context.findings == [Finding("unmapped-code", "sex")]


def test_a_code_without_a_target_names_its_column_and_its_table(context: Context) -> None:
    context.code("sex", "Q", "sex_code")
    context.code("sex", "F", "sex_code")
    assert context.findings == [Finding("unmapped-code", "sex_code:sex")]
    with pytest.raises(Quarantine) as caught:
        context.code("sex", "caf\udce9", "sex_code")
    assert (caught.value.reason, caught.value.field) == ("undecodable-text", "sex_code")


def test_the_longest_names_of_column_and_table_fit_a_finding(context: Context) -> None:
    name = "n" * 63
    context.finding("unmapped-code", f"{name}:{name}")
    assert len(context.findings[0].field) <= tables.finding.c.field.type.length
    for wrong in ("born 1970-02-03", "a:b:c", "a:", ":b", "x" * 64, "Ada Byron"):
        with pytest.raises(ValueError, match="column"):
            context.finding("unmapped-code", wrong)


def test_a_local_coding_is_the_one_that_a_concept_holds(context: Context) -> None:
    made = context.local_coding("sex", " f ", "sex_code")
    assert made == {"system": "https://x.example/CodeSystem/sex", "code": "f", "display": "Female"}
    assert made in context.code("sex", "f")["coding"]  # type: ignore[index]
    assert context.local_coding("sex", "X") == {"system": made["system"], "code": "X", "display": "?"}
    assert context.local_coding("sex", "Q") == {"system": made["system"], "code": "Q"}
    assert [context.local_coding("sex", value) for value in (None, " ", "not  sure")] == [None] * 3
    assert context.findings == []
    with pytest.raises(MappingFault, match=r"terminology/colour\.csv"):
        context.local_coding("colour", "red")


def test_a_draft_code_does_not_map(context: Context) -> None:
    with pytest.raises(Quarantine, match="unmapped-code"):
        context.required_code("sex", "X", "sex")
    with pytest.raises(Quarantine, match="missing-required"):
        context.required_code("sex", "", "sex")
    assert context.required_code("sex", "F", "sex") == "female"


def test_a_fault_of_the_mapping_quarantines_the_row_without_its_data(context: Context) -> None:
    def broken(row: Row, _: Context) -> list[Resource]:
        raise ValueError(f"bad {row['family']}")

    made = mapping(entity="patient", version="1", owner="o", produces={"main": "Patient"})(broken)
    mapped = apply_mapping(made, {"family": "Byron"}, "1", context.settings)
    assert (mapped.disposition, mapped.reason) == ("quarantined", "mapping-error")
    assert "test_context.py" in mapped.place
    assert "ValueError" in mapped.place
    assert "Byron" not in repr(mapped)


def test_a_row_that_becomes_nothing_is_explained(context: Context) -> None:
    nothing = mapping(entity="patient", version="1", owner="o", produces={"main": "Patient"})(lambda *_: [])
    assert apply_mapping(nothing, {}, "1", context.settings).reason == "no-resource"


def test_levels_follow_the_references() -> None:
    specs = {s.entity: s for s in (spec("c", "b", "a"), spec("b", "a", "b"), spec("a"), spec("d"))}
    assert load_levels(specs) == [["a", "d"], ["b"], ["c"]]


def test_a_ring_of_references_is_named() -> None:
    with pytest.raises(ReferenceCycle, match=r"a → b → a|b → a → b"):
        load_levels({s.entity: s for s in (spec("a", "b"), spec("b", "a"))})


def test_a_zero_date_is_no_date_to_a_mapping(context: Context) -> None:
    def read(row: Row, ctx: Context) -> list[Resource]:
        if row["deleted_at"]:
            raise ctx.skip("soft-deleted")
        return [ctx.resource(birthDate=ctx.date(row["born"], "born"))]

    declared = mapping(entity="patient", version="1", owner="o", produces={"main": "Patient"})(read)
    alive = apply_mapping(declared, {"deleted_at": "0000-00-00", "born": "0000-00-00"}, "1", context.settings)
    assert (alive.disposition, [(f.reason, f.field) for f in alive.findings]) == (
        "pending",
        [("sentinel-date", "born")],
    )
    assert "birthDate" not in alive.resources[0]
    gone = apply_mapping(declared, {"deleted_at": "2020-01-01", "born": "0000-00-00"}, "1", context.settings)
    assert (gone.disposition, gone.reason) == ("skipped", "soft-deleted")


def test_digits_beyond_a_microsecond_are_a_finding(context: Context) -> None:
    assert context.instant("2020-03-01 10:11:12.1234567", "t") == "2020-03-01T10:11:12.123456+01:00"
    assert context.instant("2020-03-01 10:11:12.0000000", "u") == "2020-03-01T10:11:12+01:00"
    assert context.findings == [Finding("fraction-cut", "t")]


def test_bytes_are_no_text_unless_they_are_asked_for(context: Context) -> None:
    scan = binary(b"text")
    for read in (context.text, context.date, context.number, context.instant):
        with pytest.raises(Quarantine, match="binary-value") as told:
            read(scan, "scan")
        assert told.value.field == "scan"
    assert context.base64(scan, "scan") == "dGV4dA=="
    assert context.base64(None) is None
    with pytest.raises(TypeError, match="no text"):
        f"Scan: {scan}"
    with pytest.raises(Quarantine, match="not-binary"):
        context.base64("dGV4dA==", "scan")


def test_a_column_is_said_once(context: Context) -> None:
    row = {"family": "-", "born": "1900-01-01", "seen": "2024-05-01 08:30:00", "kg": "72.50", "scan": binary(b"\0"),
           "sex": "F", "odd": "X", "none": None, "clinic": 7, "no_clinic": "0"}  # fmt: skip
    said = replace(context, columns=row).row
    assert said.text("family") == context.text("-", "family") == "-"
    assert said.date("born") is None
    assert said.instant("seen") == "2024-05-01T08:30:00+02:00"
    assert said.instant("seen", "UTC") == "2024-05-01T08:30:00+00:00"
    assert (said.number("kg"), said.base64("scan")) == (72.5, "AA==")
    assert said.code("sex", "sex") == context.code("sex", "F", "sex")
    assert said.coding("sex", "sex") == context.coding("sex", "F", "sex")
    assert said.local_coding("sex", "odd") == context.local_coding("sex", "X", "odd")
    assert (said.required_code("sex", "sex"), said.optional_code("sex", "sex")) == ("female", "female")
    assert said.optional_code("sex", "none") is None
    with pytest.raises(Quarantine, match="unmapped-code") as told:
        said.optional_code("sex", "odd")
    assert told.value.field == "odd"
    assert said.reference("clinic", "clinic") == context.reference("clinic", 7)
    assert said.reference("clinic", "clinic", "no_clinic") == context.reference("clinic", (7, "0"))
    assert context.findings == [Finding("sentinel-date", "born")]


def test_zero_refers_to_nothing_where_the_mapping_says_so(context: Context) -> None:
    said = replace(context, columns={"one": 0, "two": "0", "three": 10}).row
    assert said.reference("clinic", "one", zero_is_none=True) is None
    assert said.reference("clinic", "two", zero_is_none=True) is None
    assert said.reference("clinic", "three", zero_is_none=True) == context.reference("clinic", 10)
    assert said.reference("clinic", "one") == context.reference("clinic", 0)


def test_a_column_that_is_mistyped_is_named_by_the_short_way_too(context: Context) -> None:
    made = mapping(entity="patient", version="1", owner="o", produces={"main": "Patient"})(
        lambda _row, ctx: [ctx.resource(gender=ctx.row.text("sexx"))]
    )
    told = apply_mapping(made, {"sex": "F"}, "1", context.settings)
    assert told.place.endswith("NoSuchColumn: the row has no column sexx; did you mean sex?")
