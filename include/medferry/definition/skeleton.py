"""A migration's first files, made of what the legacy schema tells: drafts that map nothing until somebody has."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path

import yaml

from medferry.errors import DefinitionError
from medferry.mapping.declare import MappingStatus
from medferry.mapping.terminology import HEADER, CodeStatus
from medferry.plan.model import Strategy
from medferry.source.survey import Meant, SurveyedColumn, SurveyedTable

NOT_MAPPED = "not-mapped-yet"
"""The reason of each row until its mapping is written: quarantined, not skipped, so that no run is proven by it."""
ALL, SHARED = "all", "shared"
_PLAN = Path("plan.yaml")
_PLAIN = re.compile(r"[^\W\d]\w{0,62}")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new migration is made of; `unit_column` is empty where the database has no business units."""

    name: str
    time_zone: str
    tables: Sequence[SurveyedTable]
    types: Mapping[str, str]
    """Table → the resource type that its rows become."""
    unit_column: str
    units: Sequence[str]
    quoted: Mapping[str, str]
    """A name of the legacy schema → as its SQL must write it."""
    phased: bool = False
    """Each unit in a wave of its own: there are more than may move at once."""


def skeleton(wanted: Wanted) -> dict[str, str]:
    """Path in the migration's folder → the file's text. Raises DefinitionError for names that cannot be ones."""
    entities = _entities(wanted.tables)
    refers = _references(wanted.tables)
    files = {"plan.yaml": _plan(wanted)}
    for table in wanted.tables:
        entity = entities[table.name]
        known = {column.name: entities[column.refers_to] for column in table.columns if column.refers_to in entities}
        aims = [entities[name] for name in refers[table.name]]
        files[f"entities/{entity}.sql"] = _entity(wanted, table)
        files[f"mappings/{entity}.py"] = _mapping(entity, wanted.types[table.name], table, known, aims)
        files[f"checks/{entity}.yaml"] = _checks(wanted, entity, table, known)
        files |= {f"terminology/{_code_table(entity, one)}.csv": _codes(one) for one in table.columns if one.codes}
    return files


def slug(name: str) -> str:
    """A name of the legacy schema as an entity's or column's: lower case letters, digits and underscores."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")[:40]
    return plain if plain[:1].isalpha() else f"t_{plain}"[:40]


def _entities(tables: Sequence[SurveyedTable]) -> dict[str, str]:
    found = {table.name: slug(table.name) for table in tables}
    if len(set(found.values())) < len(found):
        problem = "two tables would become one entity."
        raise DefinitionError(_PLAN, None, problem, "Leave one out, and write it by hand.")
    return found


def _references(tables: Sequence[SurveyedTable]) -> dict[str, list[str]]:
    """Table → the tables that it refers to; a reference that would close a circle is left out, one to itself stays."""
    found: dict[str, list[str]] = {table.name: [] for table in tables}

    def reaches(start: str, aim: str) -> bool:
        return start == aim or any(reaches(following, aim) for following in found[start] if following != start)

    for table in tables:
        for aim in dict.fromkeys(column.refers_to for column in table.columns):
            if aim in found and (aim == table.name or not reaches(aim, table.name)):
                found[table.name].append(aim)
    return found


def _plan(wanted: Wanted) -> str:
    strays = [unit for unit in wanted.units if not _UNIT.fullmatch(unit)]
    if strays:
        raise DefinitionError(
            _PLAN,
            None,
            f"{len(strays)} values of {wanted.unit_column} cannot be names of units.",
            "A unit has letters, digits, dots, dashes and underscores: make such names in the entities' SQL.",
        )
    if not wanted.unit_column:
        units: list[dict[str, object]] = [{"id": ALL, "title": "Everything"}]
    else:
        units = [{"id": unit} for unit in wanted.units]
        if any(wanted.unit_column not in _names(table) for table in wanted.tables):
            units.insert(0, {"id": SHARED, "title": "What belongs to no single unit", "shared": True})
    said = {
        "name": wanted.name,
        "title": f"{wanted.name} moves to Medplum",
        "strategy": (Strategy.PHASED if wanted.phased else Strategy.BIG_BANG).value,
        "identifier_base": f"https://legacy.example/{wanted.name}",
        "source": {"connection": f"legacy_{wanted.name}", "time_zone": wanted.time_zone},
        "units": units,
    }
    if wanted.phased:  # which units go together is for a person to say
        said["waves"] = [{"id": f"unit_{number}", "units": [unit]} for number, unit in enumerate(wanted.units, 1)]
    head = (
        "# A first draft by `medferry new`. To decide: identifier_base (a URL of your own, for ever), null_tokens and\n"
        "# sentinel_dates of the source, waves, acceptance, and the planning questions that `plan check` lists.\n"
    )
    return head + yaml.safe_dump(said, sort_keys=False, allow_unicode=True)


def _names(table: SurveyedTable) -> set[str]:
    return {column.name for column in table.columns}


def _unit_of(wanted: Wanted, table: SurveyedTable) -> tuple[str, str]:
    """(the unit's column in the entity's SELECT, the constant that it is made of or an empty text)."""
    if wanted.unit_column in _names(table):
        return wanted.unit_column, ""
    return "unit_id", f"'{SHARED if wanted.unit_column else ALL}'"


def _entity(wanted: Wanted, table: SurveyedTable) -> str:
    unit, constant = _unit_of(wanted, table)
    selected = [wanted.quoted[column.name] for column in table.columns]
    selected += [f"{constant} AS {unit}"] if constant else []
    lines = [f"-- key: {', '.join(map(_setting, table.key))}", f"-- unit: {_setting(unit)}"]
    return "\n".join([*lines, f"SELECT {', '.join(selected)}", f"FROM {wanted.quoted[table.name]}", ""])


def _setting(column: str) -> str:
    return column if _PLAIN.fullmatch(column) else f'"{column}"'


def _mapping(
    entity: str, resource_type: str, table: SurveyedTable, known: Mapping[str, str], aims: Sequence[str]
) -> str:
    references = f"    references=({', '.join(map(repr, aims))},),\n" if aims else ""
    hints = "\n".join(_hints(entity, table, known, aims))
    function = f"{entity}_" if iskeyword(entity) else entity
    return f'''"""{entity}: a skeleton by `medferry new`: each row is quarantined until its elements are named below."""

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping


@mapping(
    entity="{entity}",
    version="0.1.0",
    owner="nobody yet",
    status="{MappingStatus.DRAFT}",
    produces={{"main": {json.dumps(resource_type)}}},
{references})
def {function}(row: Row, ctx: Context) -> Iterator[Resource]:
    raise ctx.quarantine("{NOT_MAPPED}")
    yield ctx.resource(
        # An element of FHIR for each column that has one; what no column fills is left out, not invented.
{hints}
    )
'''


def _hints(entity: str, table: SurveyedTable, known: Mapping[str, str], aims: Sequence[str]) -> Iterator[str]:
    for column in table.columns:
        if column.meant is Meant.KEY:
            yield f"        # {_one_line(column.name)}: the key; ctx.resource makes the identifier of it"
            continue
        told = _call(entity, column, known)
        if column.meant is Meant.REFERENCE and known.get(column.name) not in (*aims, None):
            told += "  (left out of references: it would close a circle)"
        yield f"        # …={told},"


_CALLS: Mapping[Meant, str] = {
    Meant.DATE: "date",
    Meant.INSTANT: "instant",
    Meant.NUMBER: "number",
    Meant.BYTES: "base64",
    Meant.TEXT: "text",
}


def _call(entity: str, column: SurveyedColumn, known: Mapping[str, str]) -> str:
    name = repr(column.name)
    if column.meant is Meant.REFERENCE:
        aim = known.get(column.name)
        told = f"row[{name}]: of the table {_one_line(column.refers_to)}"
        return f"ctx.row.reference({aim!r}, {name})" if aim else told
    if column.meant is Meant.CODE:
        return f"ctx.row.code({_code_table(entity, column)!r}, {name})"
    call = _CALLS.get(column.meant)
    return f"ctx.row.{call}({name})" if call else f"None if row[{name}] is None else bool(row[{name}])"


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _code_table(entity: str, column: SurveyedColumn) -> str:
    return f"{entity}_{slug(column.name)}"


def _codes(column: SurveyedColumn) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    rows.writerows([code, "", "", "", "", CodeStatus.DRAFT.value] for code in column.codes)
    return text.getvalue()


_COMPARED: Mapping[Meant, str] = {
    Meant.DATE: "date",
    Meant.INSTANT: "instant",
    Meant.NUMBER: "number",
    Meant.TEXT: "text",
}


def _checks(wanted: Wanted, entity: str, table: SurveyedTable, known: Mapping[str, str]) -> str:
    unit, constant = _unit_of(wanted, table)
    keys = [f"t.{wanted.quoted[name]}" for name in table.key]
    said = {
        "from": f"{wanted.quoted[table.name]} t",
        "key": keys[0] if len(keys) == 1 else keys,
        "unit": constant or f"t.{wanted.quoted[unit]}",
        "resources": {"main": {"when": "1 = 1", "checks": []}},
    }
    hints = [
        f"#     - {{name: {slug(column.name)}, sql: {sql}, path: …, {told}}}\n"
        for column in table.columns
        if (told := _compared(entity, column, known)) and (sql := f"t.{wanted.quoted[column.name]}")
    ]
    head = (
        "# A skeleton by `medferry new`: what must be found in Medplum, said a second time, a line for each element.\n"
    )
    body = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    return head + body + ("# Under checks, with the element's place as path:\n" if hints else "") + "".join(hints)


def _compared(entity: str, column: SurveyedColumn, known: Mapping[str, str]) -> str:
    if column.meant is Meant.REFERENCE and column.name in known:
        return f"compare: reference, entity: {known[column.name]}"
    if column.meant is Meant.CODE:
        return f"compare: code, table: {_code_table(entity, column)}"
    return f"compare: {_COMPARED[column.meant]}" if column.meant in _COMPARED else ""
