"""Documents that were sent to Medplum as a Binary, written down before they are sent.

Medplum searches no Binary: one whose answer got lost cannot be found again. So it is sent once more, and the note of
the first stays: the verification tells of it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.clock import clock
from medferry.manifest.crosswalk import Name
from medferry.manifest.runs import SliceRow
from medferry.manifest.sent_batches import WATCHED_SECONDS
from medferry.manifest.tables_of_documents import upload


class UploadState(StrEnum):
    """What is known of a document that was sent."""

    SENT = "sent"
    """No answer came, or not yet."""
    STORED = "stored"
    """Medplum gave it an id; it was not read back yet."""
    PROVEN = "proven"
    """It was read back as it was sent."""
    REFUSED = "refused"
    """Nothing was stored, or something else than was sent."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A document that Medplum has as a Binary."""

    id: int
    medplum_id: str
    state: UploadState


def note(connection: sa.Connection, migration: str, slice_: SliceRow, name: Name, digest: str) -> int:
    """Note a document of a resource's that is about to be sent; returns the note's number."""
    values = {
        "migration": migration,
        "run_id": slice_.run_id,
        "entity": slice_.entity,
        "system": name[0],
        "value": name[1],
        "digest": digest,
        "state": UploadState.SENT,
        "medplum_id": "",
        "sent_at": clock(connection),
    }
    return int(connection.execute(sa.insert(upload).values(values).returning(upload.c.id)).scalar_one())


def tell(connection: sa.Connection, id_: int, state: UploadState, medplum_id: str = "") -> None:
    """Record what became known of a note; an id that is known stays."""
    values = {"state": state, **({"medplum_id": medplum_id} if medplum_id else {})}
    connection.execute(sa.update(upload).where(upload.c.id == id_).values(values))


def uploads_of(connection: sa.Connection, migration: str, names: Collection[Name]) -> dict[tuple[Name, str], Upload]:
    """(name, SHA-256) → the newest Binary that Medplum has of it, for some resources' documents."""
    statement = (
        sa.select(upload)
        .where(
            upload.c.migration == migration,
            among(connection, upload.c.value, sorted({value for _, value in names})),
            upload.c.state.in_([UploadState.STORED, UploadState.PROVEN]),
        )
        .order_by(upload.c.id)
    )
    rows = connection.execute(statement).all()
    return {
        ((row.system, row.value), row.digest): Upload(row.id, row.medplum_id, UploadState(row.state))
        for row in rows
        if (row.system, row.value) in names
    }


def digests_of(connection: sa.Connection, migration: str, names: Collection[Name]) -> dict[tuple[Name, str], str]:
    """(name, id of the Binary) → SHA-256 of the bytes that were uploaded, for some resources' documents."""
    columns = (upload.c.system, upload.c.value, upload.c.medplum_id, upload.c.digest)
    statement = sa.select(*columns).where(
        upload.c.migration == migration,
        among(connection, upload.c.value, sorted({value for _, value in names})),
        upload.c.medplum_id != "",
    )
    return {((row.system, row.value), row.medplum_id): row.digest for row in connection.execute(statement)}


def unanswered(
    connection: sa.Connection, migration: str, entities: Collection[str], run_id: str | None
) -> list[tuple[str, str]]:
    """(entity, key) of the documents of which no answer tells what became: of a run, or of the last day."""
    newer = upload.c.sent_at > clock(connection, -WATCHED_SECONDS) if run_id is None else upload.c.run_id == run_id
    statement = sa.select(upload.c.entity, upload.c.value).where(
        upload.c.migration == migration,
        upload.c.entity.in_(sorted(entities)),
        upload.c.state == UploadState.SENT,
        newer,
    )
    return [(row.entity, row.value) for row in connection.execute(statement.order_by(upload.c.id))]


def count_proven(connection: sa.Connection, migration: str, entities: Collection[str]) -> int:
    """How many documents of some entities were read back as they were sent."""
    proven = (
        upload.c.migration == migration,
        upload.c.entity.in_(sorted(entities)),
        upload.c.state == UploadState.PROVEN,
    )
    return connection.scalar(sa.select(sa.func.count()).select_from(upload).where(*proven)) or 0
