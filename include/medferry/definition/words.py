"""The texts that stand in the source of a migration's mappings: what its author's code may say of a row."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from medferry.definition.importing import source_tree

_SAYING = frozenset({"skip", "quarantine", "finding", "cannot"})
"""Methods of a context whose first argument is a reason."""

_LONGEST = 200
"""Characters; what is longer is no word of a report."""


def source_words(files: Iterable[Path]) -> frozenset[str]:
    """Every constant text of some Python files; what is put together of constants alone is one, too."""
    return frozenset(
        text
        for tree in map(source_tree, files)
        for node in ast.walk(tree)
        if (text := _text(node)) is not None and len(text) <= _LONGEST
    )


def unwritten_reasons(files: Iterable[Path]) -> list[tuple[Path, int]]:
    """(file, line) of each reason that is put together, or read from the row, where it is given."""
    found = {(path, line) for path in files for line in _unwritten(source_tree(path))}
    return sorted(found)


def _unwritten(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=attr), args=[reason, *_]) if attr in _SAYING:
                if _is_made(reason):
                    yield reason.lineno
            case ast.Call(func=ast.Name(id="Skip" | "Quarantine"), args=[reason, *_]):
                if _is_made(reason):
                    yield reason.lineno


def _is_made(reason: ast.expr) -> bool:
    """Whether the text comes into being only when the code runs. A name may stand for a constant."""
    match reason:
        case ast.IfExp(body=one, orelse=other):
            return _is_made(one) or _is_made(other)
        case ast.BoolOp(values=values):
            return any(map(_is_made, values))
        case ast.Subscript(value=ast.Name("row") | ast.Attribute(attr="columns")):
            return True
        case _:
            return isinstance(reason, ast.JoinedStr | ast.BinOp | ast.Call) and _text(reason) is None


def _text(node: ast.AST) -> str | None:
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [_text(left), _text(right)]
        case ast.JoinedStr(values=values):
            parts = [_text(value) for value in values]
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            parts = [_text(value)]
        case _:
            return None
    known = [part for part in parts if part is not None]
    return "".join(known) if len(known) == len(parts) else None
