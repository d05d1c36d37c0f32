"""docs/reference.md as it must be: its tables are the code's own names, signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from medferry.mapping import datatypes
from medferry.mapping.columns import ColumnReader
from medferry.mapping.context import Context
from medferry.mapping.declare import MappingStatus
from medferry.mapping.outcomes import Disposition, Reason
from medferry.mapping.terminology import CodeStatus
from medferry.runtime import variables as declared

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/reference.md"
_TABLE = re.compile(r"(<!-- written by `make docs`: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_VARIABLE = re.compile(r"\bMEDFERRY_[A-Z][A-Z_]*[A-Z]\b")


def page() -> str:
    """The page with its tables as the code has them now."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_TABLES[found[2]]()}\n{found[3]}", PAGE.read_text())


def _signature(function: Callable[..., Any]) -> str:
    """Names of the parameters; an optional one with what it is by default."""
    shown = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        shown.append(f"{stars}{name}{default}")
    return ", ".join(shown)


def _said(thing: Any) -> str:
    """A docstring's first paragraph on one line, as Markdown in a table."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return text.replace("``", "`").replace("|", "\\|")


def _readers() -> str:
    lines = ["| `ctx.…` | by a column's name, `ctx.row.…` | Gives |", "|---|---|---|"]
    for name, function in vars(Context).items():
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        short = vars(ColumnReader).get(name)
        by_name = f"`{name}({_signature(short)})`" if short else ""
        lines.append(f"| `{name}({_signature(function)})` | {by_name} | {_said(function)} |")
    return "\n".join([*lines, ""])


def _datatypes() -> str:
    own = [f for f in vars(datatypes).values() if inspect.isfunction(f) and f.__module__ == datatypes.__name__]
    lines = ["| `medferry.mapping.datatypes` | Gives |", "|---|---|"]
    lines += [f"| `{f.__name__}({_signature(f)})` | {_said(f)} |" for f in own if not f.__name__.startswith("_")]
    return "\n".join([*lines, ""])


def _words(kind: Iterable[StrEnum]) -> str:
    return ", ".join(f"`{word}`" for word in kind)


def _statuses() -> str:
    lines = ["| Word of | Words |", "|---|---|"]
    lines.append(f"| a mapping's `status` | {_words(MappingStatus)} |")
    lines.append(f"| a line's `status` in a code table | {_words(CodeStatus)} |")
    lines.append(f"| what became of a row | {_words(Disposition)} |")
    lines.append(f"| Medferry's own reasons | {_words(Reason)} |")
    return "\n".join([*lines, ""])


def _settings() -> str:
    lines = ["| Variable | Says | Without it |", "|---|---|---|"]
    lines += [f"| `{name}` | {variable.says} | {variable.without} |" for name, variable in declared.VARIABLES.items()]
    return "\n".join([*lines, ""])


_TABLES = {"readers": _readers, "datatypes": _datatypes, "statuses": _statuses, "settings": _settings}


def variables() -> set[str]:
    """The MEDFERRY_* variables that the program's sources spell out, but where they are told; some are put together."""
    sources = [*(ROOT / "include").rglob("*.py"), *(ROOT / "plugins").rglob("*.py"), *(ROOT / "dags").rglob("*.py")]
    told = Path(str(declared.__file__))
    found = (_VARIABLE.findall(path.read_text()) for path in sources if path != told)
    return {name for names in found for name in names if "_LIVE_" not in name}
