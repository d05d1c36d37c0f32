"""Code tables as spreadsheets save them: read rightly, or refused with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from medferry.errors import DefinitionError
from medferry.mapping.terminology import CodeTable, load_code_table

HEADER = "local_code,local_display,system,code,display,status\n"


def table(folder: Path, text: str, exact: bool = False) -> CodeTable:
    path = folder / "sex.csv"
    path.write_bytes(text.encode())
    return load_code_table(path, exact)


@pytest.mark.parametrize("change", [str, lambda text: "\ufeff" + text, lambda text: text.replace(",", ";")])
@pytest.mark.parametrize("ends", ["", "\n\n", ",,,,,\n", "\r\n  \n"])
def test_marks_separators_and_blank_lines_of_spreadsheets_are_read(tmp_path: Path, change, ends: str) -> None:  # type: ignore[no-untyped-def]
    found = table(tmp_path, change(HEADER + "F,Female,http://s,female,Female,approved\n\nX,,,,,draft\n" + ends))
    assert [row.code for row in found.rows.values()] == ["female", ""]
    assert found.find(" f ") == found.rows["f"]


@pytest.mark.parametrize("code", ["7.33507E+17", "7,33507E+17", "7E+17"])
@pytest.mark.parametrize("line", ["1,x,http://snomed.info/sct,{},x,approved", "{},x,,,,draft"])
def test_a_code_that_a_spreadsheet_rounded_is_refused(tmp_path: Path, line: str, code: str) -> None:
    if "," in code:
        line = line.replace("{}", '"{}"')
    with pytest.raises(DefinitionError, match=r"sex\.csv:3: a spreadsheet has rounded the code"):
        table(tmp_path, HEADER + "F,,,,,draft\n" + line.format(code) + "\n")


def test_codes_like_numbers_stay(tmp_path: Path) -> None:
    found = table(tmp_path, HEADER + "5E+1,x,http://s,733507012345678901,x,approved\n1e5,,,E11.9,,unmapped\n")
    assert [row.code for row in found.rows.values()] == ["733507012345678901", "E11.9"]


def test_case_matters_where_codes_differ_by_it_or_the_plan_says_so(tmp_path: Path) -> None:
    found = table(tmp_path, HEADER + "M,,http://s,morning,,approved\nm,,http://s,minute,,approved\n")
    assert [row.code for row in map(found.find, ("M", " m "))] == ["morning", "minute"]  # type: ignore[union-attr]
    assert table(tmp_path, HEADER + "M,,,,,draft\n", exact=True).find("m") is None
    assert table(tmp_path, HEADER + "M,,,,,draft\n").find("m") is not None
    with pytest.raises(DefinitionError, match=r"sex\.csv:4: the local code 'M' appears twice"):
        table(tmp_path, HEADER + "M,,,,,draft\nm,,,,,draft\n M ,,,,,draft\n")


def test_other_encodings_and_broken_quotes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "sex.csv"
    path.write_bytes((HEADER + "F,weiblich männlich,,,,draft\n").encode("cp1252"))
    with pytest.raises(DefinitionError, match="not UTF-8"):
        load_code_table(path)
    with pytest.raises(DefinitionError, match=r"sex\.csv:\d: this is not CSV"):
        table(tmp_path, HEADER + 'F,"x"y,,,,draft\n')
