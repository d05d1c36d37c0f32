"""The reasons for which a row of a migration may become a dead letter, as far as they can be known before."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from medferry.mapping.outcomes import OF_VALUES, Reason
from medferry.source.keys import KeyFault

_NEVER_DEAD = {Reason.NO_RESOURCE, Reason.SOURCE_ROW_GONE}
"""Of what was passed over."""


def dead_reasons(folder: Path) -> list[str]:
    """Medferry's own, and those that its mappings spell out; one that a mapping puts together is missing."""
    own = {reason for path in sorted((folder / "mappings").glob("*.py")) for reason in _spelt_out(path)}
    return sorted({*Reason, *KeyFault, *OF_VALUES, *own} - _NEVER_DEAD)


def _spelt_out(path: Path) -> Iterator[str]:
    """The reasons in ``ctx.quarantine("reason", …)``."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Call(func=ast.Attribute(attr="quarantine"), args=[ast.Constant(str(reason)), *_]):
                yield reason
