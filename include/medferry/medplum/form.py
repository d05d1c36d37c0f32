"""The form that an answer of Medplum's must have before anything is done with it.

Whoever answers may be another than Medplum: ids go into addresses and the manifest, and what people wrote is walked
through by functions that call themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from time import monotonic

import httpx

from medferry.medplum.errors import AnswerUnfit

MOST_BYTES = 256 << 20
"""Of an answer that is held in memory: a page of 1,000 resources of 256 KiB."""

MOST_BYTES_OF_A_BINARY = 16 << 30
"""Of one that is read in parts."""

MOST_SECONDS = 1_800.0
"""Until an answer that has begun must be at its end."""

MOST_DEPTH = 100
"""Of objects and arrays within each other; the deepest that FHIR's own definitions have is a tenth."""

LONGEST_WAIT_SECONDS = 600.0
"""A server that asks to be left alone for longer is asked again all the same; a window of the quota is a minute."""

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)
_GATEWAY = "Check what stands between Medferry and Medplum, and that the address is Medplum's."


def is_id(text: object) -> bool:
    """Whether it is an id (or a version id) as FHIR has it, which may be part of an address."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None and text.strip(".") != ""


def refuse_deep(text: bytes, most: int = MOST_DEPTH) -> None:
    """Raises AnswerUnfit for JSON with more than `most` levels. What has few brackets costs no look at each."""
    if text.count(b"{") + text.count(b"[") <= most:
        return
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += 1 if found[1] else -1 if found[2] else 0
        if depth > most:
            raise AnswerUnfit(f"An answer of Medplum's has more than {most} levels.", _GATEWAY)


def in_parts(
    answer: httpx.Response,
    most: int = MOST_BYTES,
    seconds: float = MOST_SECONDS,
    clock: Callable[[], float] = monotonic,
) -> Iterator[bytes]:
    """The body of an answer that was not read yet.

    Raises AnswerUnfit where it is longer than `most` bytes, lasts longer than `seconds`, or cannot be unpacked.
    """
    size, until = 0, clock() + seconds
    try:
        for part in answer.iter_bytes():
            size += len(part)
            if size > most or clock() > until:
                what = f"is longer than {most >> 20:,} MiB" if size > most else f"has no end after {seconds:,.0f} s"
                raise AnswerUnfit(f"An answer of Medplum's {what}.", _GATEWAY)
            yield part
    except httpx.DecodingError:
        raise AnswerUnfit("An answer of Medplum's cannot be unpacked.", _GATEWAY) from None


def read_whole(answer: httpx.Response) -> httpx.Response:
    """The answer with its body. Raises AnswerUnfit."""
    content = b"".join(in_parts(answer))
    about = [(name, value) for name, value in answer.headers.items() if name not in _OF_THE_WAY]
    return httpx.Response(answer.status_code, headers=about, content=content, request=answer.request)


_OF_THE_WAY = ("content-encoding", "content-length", "transfer-encoding")


def wait_of(seconds: float, otherwise: float) -> float:
    """A wait that a server asks for, within reason; `otherwise` for what is no number."""
    return min(max(seconds, 0.05), LONGEST_WAIT_SECONDS) if math.isfinite(seconds) else otherwise
