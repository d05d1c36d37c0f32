"""UTF-16 as SQL Server keeps it: halves of a pair may stand alone, and arrive as lone surrogates, not as an error."""

from __future__ import annotations

import codecs
from typing import Any

UTF_16 = "medferry_utf_16"
"""The name of the codec, for a driver that takes one."""


def _encoded(text: str, _errors: str = "strict", /) -> tuple[bytes, int]:
    return text.encode("utf-16-le", "surrogatepass"), len(text)


def _decoded(data: Any, _errors: str = "strict", /) -> tuple[str, int]:
    raw = bytes(data)
    return raw.decode("utf-16-le", "surrogatepass"), len(raw)


def _found(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(_encoded, _decoded, name=UTF_16) if name == UTF_16 else None


codecs.register(_found)
