"""How long edits in Medplum took until their rows were written, by Medplum's own clock."""

from __future__ import annotations

from collections.abc import Iterable

from medferry.medplum.changes import milliseconds
from medferry.medplum.client import MedplumClient
from medferry.sync.reverse import Found, FoundKind
from medferry.sync.reverse_rows import WrittenBack


def lags_of(found: Iterable[Found], written: WrittenBack, client: MedplumClient) -> list[float]:
    """Seconds of each edit of which a row was written; none where Medplum does not tell its time."""
    now = client.server_clock.now()
    done = [
        one.change.at
        for one in found
        if one.kind is FoundKind.EDIT and one.change is not None
        and any((line.entity, line.value) in written.rows for line in one.lines)
    ]  # fmt: skip
    return [max(0.0, (milliseconds(now) - at) / 1_000) for at in done] if now else []
