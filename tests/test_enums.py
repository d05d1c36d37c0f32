"""Values that steer are members of an enum, each in one place: a text that spells one out is found here."""

from __future__ import annotations

import ast
import json
import pickle
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import orjson
import pytest

from medferry.apply.plan import DriftPolicy
from medferry.fhir.sides import Side
from medferry.governance.verdict import Word
from medferry.manifest.charts import ReviewOutcome
from medferry.manifest.checkpoints import CheckpointState
from medferry.manifest.checks import CheckStatus
from medferry.manifest.conflicts import ConflictState, Direction
from medferry.manifest.crosswalk import Action, Effect
from medferry.manifest.exceptions import ExceptionState, Severity
from medferry.manifest.feeds import FeedKind
from medferry.manifest.kinds import RunKind
from medferry.manifest.leftovers import LeftoverKind
from medferry.manifest.runs import Control, RunStatus, SliceStage
from medferry.mapping.outcomes import Disposition, Reason
from medferry.mapping.terminology import CodeStatus
from medferry.medplum.presence import Absence
from medferry.plan.authority import AgainstPolicy, FieldPolicy, Writer
from medferry.plan.model import LeftoverPolicy, Strategy
from medferry.runtime.options import ControlAction, LoadMode
from medferry.source.changes.rules import CaptureMethod
from medferry.source.keys import KeyFault
from medferry.sync.reverse import FoundKind

INCLUDE = Path(__file__).resolve().parent.parent / "include"
FILES = sorted(path for name in ("medferry", "medferry_airflow") for path in (INCLUDE / name).rglob("*.py"))

STEERING: tuple[type[StrEnum], ...] = (
    Absence,
    Action,
    AgainstPolicy,
    CaptureMethod,
    CheckStatus,
    CheckpointState,
    CodeStatus,
    ConflictState,
    Control,
    ControlAction,
    Direction,
    Disposition,
    DriftPolicy,
    Effect,
    ExceptionState,
    FeedKind,
    FieldPolicy,
    FoundKind,
    KeyFault,
    LeftoverKind,
    LeftoverPolicy,
    LoadMode,
    Reason,
    ReviewOutcome,
    RunKind,
    RunStatus,
    Severity,
    Side,
    SliceStage,
    Strategy,
    Word,
    Writer,
)

VALUES = {member.value: f"{enum.__name__}.{member.name}" for enum in STEERING for member in enum if member.value}

ALLOWED = {
    ("medferry/cli/exceptions.py", "different"): "a column",
    ("medferry/cli/main.py", "medplum"): "the name of a command",
    ("medferry/cli/main.py", "sync"): "the name of a command",
    ("medferry/definition/tables.py", "approved"): "the verification's own reader shares nothing with what maps",
    (
        "medferry/mapping/declare.py",
        "draft",
    ): "of a mapping, not of a code: it is only shown",
    ("medferry/report/checks_table.py", "different"): "a column",
    ("medferry/verification/case.py", "different"): "the kind of a difference, not the status of a check",
    ("medferry/verification/leftovers.py", "unknown"): "the kind of a difference",
    ("medferry/verification/references.py", "conditional"): "the kind of a difference",
    ("medferry_airflow/tasks/history.py", "run"): "the key of a value between tasks",
    ("medferry_airflow/hook.py", "medplum"): "the type or the name of a connection",
    ("medferry_airflow/provider.py", "medplum"): "the type or the name of a connection",
    ("medferry_airflow/names.py", "medplum"): "the type or the name of a connection",
    ("medferry_airflow/rest.py", "failed"): "Airflow's word, for scripts that need not have Airflow",
}
"""(file, text) → why it is spelt out."""


_COMPARED = re.compile(r"""(?:==|!=|['"]eq['"],|['"]ne['"],)\s*['"]([^'"]*)['"]""")
"""A text that a template compares with."""


def spelt_out(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of each steering value in a comparison, an assignment, a keyword, a default, or a
    returned value, or as a value of a dictionary; but not in an enum, which defines it.
    """
    enums = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _is_enum(node)]
    passed_over = {id(inner) for node in enums for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for value in _steering_places(node):
            for text in _texts(value):
                if text.value in VALUES and id(text) not in passed_over:
                    yield text.lineno, str(text.value)


def _is_enum(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id.endswith("Enum") for base in node.bases)


def _steering_places(node: ast.AST) -> Iterator[ast.AST | None]:
    if isinstance(node, ast.Compare):
        yield node.left
        yield from node.comparators
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.keyword, ast.Return)):
        yield node.value
    elif isinstance(node, ast.Dict):
        yield from node.values
    elif isinstance(node, ast.arguments):
        yield from (*node.defaults, *node.kw_defaults)
    elif isinstance(node, ast.MatchValue):
        yield node.value


def _texts(node: ast.AST | None) -> Iterator[ast.Constant]:
    """The texts that a value is, or is one of: those of a choice, a tuple, a list or a set too."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))
    elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        for element in node.elts:
            yield from _texts(element)
    elif isinstance(node, ast.Starred):
        yield from _texts(node.value)
    elif isinstance(node, ast.BoolOp):
        for element in node.values:
            yield from _texts(element)


def _found() -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for path in FILES:
        if "revisions" not in path.parts:
            for line, text in spelt_out(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault((path.relative_to(INCLUDE).as_posix(), text), []).append(line)
    return found


def test_no_steering_value_is_spelt_out() -> None:
    found = _found()
    faults = [
        f"{file}:{lines[0]} {text!r} → {VALUES[text]}"
        for (file, text), lines in found.items()
        if (file, text) not in ALLOWED
    ]
    assert not faults, "\n".join(faults)
    assert set(ALLOWED) <= set(found), "what is allowed is still needed"


def test_no_template_spells_one_out() -> None:
    """A comparison in a page, of which none fails where a word changes."""
    for path in sorted((INCLUDE / "medferry").rglob("*.jinja")):
        compared = _COMPARED.findall(path.read_text(encoding="utf-8"))
        assert not VALUES.keys() & set(compared), path.name


def test_a_comparison_in_a_template_is_found() -> None:
    assert _COMPARED.findall("{% if a == 'open' or b != \"fixed\" %}{{ c | selectattr('d', 'eq', 'skipped') }}") == [
        "open",
        "fixed",
        "skipped",
    ]


@pytest.mark.parametrize(
    "source",
    [
        'run.status == "failed"',
        'row.stage in ("loaded", "x")',
        'status = "aborted" if late else other',
        'status: str = "running"',
        'Record(disposition="skipped")',
        'values = {"stage": "planned"}',
        'def judge(status="equal"): ...',
        'def judge(*, status="equal"): ...',
        'def status(): return "different"',
        'names = ["x", *("created",)]',
        'reason = given or "mapping-error"',
        'match control:\n case "abort": ...',
    ],
)
def test_a_spelt_out_value_is_found(source: str) -> None:
    assert [text for _, text in spelt_out(ast.parse(source))]


@pytest.mark.parametrize(
    "source",
    [
        'class Status(StrEnum):\n FAILED = "failed"',
        "run.status == RunStatus.FAILED",
        'log("failed")',
        '"""failed"""',
        'status = "no such value"',
    ],
)
def test_what_defines_a_value_or_only_tells_it_is_none(source: str) -> None:
    assert not list(spelt_out(ast.parse(source)))


@pytest.mark.parametrize("enum", STEERING, ids=lambda enum: enum.__name__)
def test_a_member_travels_as_its_text(enum: type[StrEnum]) -> None:
    for member in enum:
        assert json.loads(json.dumps({member: member})) == {member.value: member.value}
        assert orjson.loads(orjson.dumps([member])) == [member.value]
        assert f"{member}" == str(member) == member.value
        assert pickle.loads(pickle.dumps(member)) is member


def test_the_texts_of_the_manifest_stay() -> None:
    """What is kept in manifests of released versions, and read in reports and by scripts."""
    assert [*RunStatus] == ["running", "succeeded", "failed", "aborted", "applied"]
    assert [*RunKind] == ["run", "big_bang", "wave", "replay", "sync", "history"]
    assert [*SliceStage] == ["planned", "extracted", "transformed", "loaded"]
    assert [*Disposition] == ["pending", "successful", "rejected", "skipped", "quarantined"]
    assert [*Action] == ["create", "update", "heal", "remove", "inactivate"]
    assert [*Effect] == ["created", "updated", "unchanged"]
    assert [*Control] == ["", "pause", "abort"]
    assert [*ExceptionState] == ["open", "accepted", "fixed"]
    assert [*Severity] == ["critical", "major", "unknown"]
    assert [*ReviewOutcome] == ["agrees", "differs"]
    assert [*CheckpointState] == ["recorded", "applied"]
    assert [*FeedKind] == ["poll", "sweep", "walk"]
    assert " ".join(CheckStatus) == "equal nothing_compared hashes_only in_flight settling could_not_check different"
    assert [*CodeStatus] == ["approved", "draft", "unmapped"]
    assert [*LoadMode] == ["lookup", "conditional"]
