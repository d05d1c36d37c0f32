"""A plan that cannot be read says every place, in words for whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medferry.errors import DefinitionError
from medferry.plan.load import load_plan

SOUND = """name: toy
title: Toy
strategy: phased
identifier_base: https://toy.example/legacy
source: {connection: legacy, time_zone: America/New_York}
units:
  - id: north
  - id: south
waves:
  - id: first
    units: [north]
"""


def _fault(tmp_path: Path, text: str) -> DefinitionError:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        load_plan(path)
    return caught.value


def test_a_sound_plan_is_read(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(SOUND)
    assert load_plan(tmp_path / "plan.yaml").unit_ids == ["north", "south"]


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    text = SOUND.replace("id: north\n", "id: 1\n").replace("title: Toy\n", "").replace("phased", "phase")
    error = _fault(tmp_path, text)
    assert error.line == 1  # what is missing has no line of its own
    assert "title: is missing" in error.problem
    assert "plan.yaml:2: strategy: Input should be 'big_bang', 'parallel' or 'phased'" in error.problem
    assert "plan.yaml:6: units.0.id: must be text, and YAML reads 1 as a number: put it in quotes" in error.problem
    assert error.remedy == "Correct these 3 places."


@pytest.mark.parametrize(("value", "kind"), [("1", "a number"), ("no", "a truth value"), ("2024-01-02", "a date")])
def test_what_yaml_does_not_read_as_text_is_to_be_quoted(tmp_path: Path, value: str, kind: str) -> None:
    error = _fault(tmp_path, SOUND.replace("id: north", f"id: {value}").replace("[north]", "[south]"))
    assert error.line == 7
    assert kind in error.problem and "put it in quotes" in error.problem


def test_an_unknown_setting_has_its_nearest_name(tmp_path: Path) -> None:
    error = _fault(tmp_path, SOUND.replace("time_zone", "timezone"))
    assert "source.timezone: there is no such setting; did you mean time_zone?" in error.problem


def test_a_date_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("name: 2024-02-30\n")
    with pytest.raises(DefinitionError, match="one of its dates is none"):
        load_plan(tmp_path / "plan.yaml")


def test_a_tab_is_named(tmp_path: Path) -> None:
    error = _fault(tmp_path, SOUND.replace("  - id: south", "\t- id: south"))
    assert "there is a tab" in error.problem
    assert error.line == 8


def test_what_is_no_yaml_otherwise_has_its_line(tmp_path: Path) -> None:
    error = _fault(tmp_path, SOUND + "answers: {open: [}\n")
    assert error.line == 12
    assert "not valid YAML" in error.problem


def test_an_identifier_base_that_no_search_finds_is_refused(tmp_path: Path) -> None:
    error = _fault(tmp_path, SOUND.replace("toy.example/legacy", "toy.example/a|b"))
    assert error.line == 4
    assert "identifier_base: must hold no |" in error.problem


def test_a_file_that_ends_too_early_is_told(tmp_path: Path) -> None:
    """What is missing is behind the last line, where there is no text to look at."""
    path = tmp_path / "plan.yaml"
    path.write_text("name: [", encoding="utf-8")
    with pytest.raises(DefinitionError, match="not valid YAML"):
        load_plan(path)
