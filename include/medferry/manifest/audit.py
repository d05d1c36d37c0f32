"""The chain of acts: each line holds the hash of the one before, so that none can be changed or taken out unseen.

Decisions and finished verifications are in it by the digest of all that their rows say. Lines from the end of the chain
can be taken away together with what they are about; that is found by the head, which is printed where it stays: in
reports, in logs, on the paper of whoever signs.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.database import now
from medferry.manifest.tables import check, decision, verification
from medferry.manifest.tables_of_audit import audit

_LOCK = 7246336
"""PostgreSQL: one at a time appends. (In SQLite one at a time writes.)"""


_OF_DECISION = [decision.c[n] for n in ("id", "subject", "digest", "person", "verdict", "note", "owner", "due", "at")]
_OF_VERIFICATION = [
    verification.c[name]
    for name in ("id", "migration", "run_id", "subject", "sample_share", "seed", "validate_all", "fingerprint")
]
_OF_VERIFICATION += [verification.c[name] for name in ("declared", "started_at", "finished_at")]
_OF_CHECK = [check.c[n] for n in ("name", "entity", "status", "compared", "different", "unchecked", "examples", "note")]
"""What is in a digest, in this order; a column of a later revision is in none, or older lines would not fit."""


class Act(StrEnum):
    """What was done."""

    DECIDED = "decided"
    VERIFIED = "verified"
    REPLACED = "replaced"
    """A later verification of the same run took the place of this one, whose rows are gone."""
    BEGAN = "began"
    PAUSED = "paused"
    RESUMED = "resumed"
    ABORTED = "aborted"
    PURGED = "purged"
    DRAWN = "drawn"
    """Charts for review: whoever draws them may see them."""
    REWRAPPED = "rewrapped"
    """All hashes of contents, by the newest pepper."""
    FORGOT = "forgot"
    """Hashes of contents whose pepper is lost."""
    ACCEPTED = "accepted"
    """That the key of an entity stands for the same records, though it is made of something else."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the chain."""

    seq: int
    at: str
    actor: str
    act: str
    subject: str
    digest: str
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line: how many there are, and the hash that stands for all of them."""

    count: int
    hash: str

    def __str__(self) -> str:
        return f"{self.count}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the chain does not say. `seq` is 0 for what has no line."""

    seq: int
    subject: str
    problem: str


def os_user() -> str:
    """Who runs this process, and where: the operating system's word, not that of variables such as LOGNAME."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        name = str(os.getuid())
    return f"os:{name}@{socket.gethostname()}"[:200]


class _Surroundings:
    actor: Callable[[], str] = staticmethod(os_user)


def acted_by(actor: Callable[[], str]) -> None:
    """From now on ask this who acts in this process, in all of its threads."""
    _Surroundings.actor = staticmethod(actor)


def actor() -> str:
    """Who acts in this process now."""
    return _Surroundings.actor()[:200]


def lock(connection: sa.Connection) -> None:
    """Let nobody else append before this transaction ends: who looks, then appends, must see all that is there."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def append(connection: sa.Connection, act: Act, subject: str, digest: str = "") -> None:
    """Add a line, in the transaction of what it is about."""
    lock(connection)
    last = head(connection)
    values = (last.count + 1, now(), actor(), str(act), subject[:300], digest)
    line = dict(zip(Line.__slots__, (*values, hash_of(last.hash, *values)), strict=True))
    connection.execute(sa.insert(audit), [line])


def note_decision(connection: sa.Connection, number: int) -> None:
    """A decision was recorded, with this number."""
    row = connection.execute(sa.select(*_OF_DECISION).where(decision.c.id == number)).one()
    append(connection, Act.DECIDED, f"decision/{number}", digest_of_row(row))


def note_verification(connection: sa.Connection, number: int) -> None:
    """A verification has finished: what it found is as it will stay."""
    append(connection, Act.VERIFIED, f"verification/{number}", _digest_of_verification(connection, number))


def head(connection: sa.Connection) -> Head:
    """Of the chain as it is; without a line 0 and an empty hash."""
    row = connection.execute(sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).one_or_none()
    return Head(row.seq, row.hash) if row else Head(0, "")


def actors_of(connection: sa.Connection, decisions: Collection[int]) -> dict[int, str]:
    """Decision (its number) → who made it, of those that the chain has."""
    named = {f"decision/{number}": number for number in decisions}
    chosen = (audit.c.act == Act.DECIDED, among(connection, audit.c.subject, named))
    rows = connection.execute(sa.select(audit.c.subject, audit.c.actor).where(*chosen))
    return {named[row.subject]: row.actor for row in rows}


def lines(connection: sa.Connection, limit: int) -> list[Line]:
    """The newest lines, at most `limit`, the newest first."""
    rows = connection.execute(sa.select(audit).order_by(audit.c.seq.desc()).limit(limit))
    return [Line(*row) for row in rows]


def faults(connection: sa.Connection, known: Head | None = None) -> Iterator[Fault]:
    """What does not fit the chain; `known` is a head that was seen before. None: everything is as it was noted."""
    last, told = "", dict[str, Line]()
    expected = 1
    for row in connection.execute(sa.select(audit).order_by(audit.c.seq)):
        line = Line(*row)
        if line.seq != expected:
            yield Fault(expected, "", f"{line.seq - expected} lines before line {line.seq} are missing")
        values = (line.seq, line.at, line.actor, line.act, line.subject, line.digest)
        if hash_of(last, *values) != line.hash:
            yield Fault(line.seq, line.subject, "the line is not the one that was written after the line before it")
        if known and line.seq == known.count and line.hash != known.hash:
            yield Fault(line.seq, line.subject, "the chain up to here is another than the one whose head is given")
        told[line.subject] = line
        last, expected = line.hash, line.seq + 1
    if known and expected - 1 < known.count:
        missing = known.count - expected + 1
        yield Fault(expected, "", f"the chain ends {missing} lines before the head that is given")
    yield from _faults_of_decisions(connection, told)
    yield from _faults_of_verifications(connection, told)


def _faults_of_decisions(connection: sa.Connection, told: dict[str, Line]) -> Iterator[Fault]:
    found = set[str]()
    for row in connection.execute(sa.select(*_OF_DECISION).order_by(decision.c.id)):
        subject = f"decision/{row.id}"
        found.add(subject)
        line = told.get(subject)
        if line is None:
            yield Fault(0, subject, "a decision that nobody has noted")
        elif line.digest != digest_of_row(row):
            yield Fault(line.seq, subject, "the decision was changed after it was made")
    yield from _gone(told, found, Act.DECIDED, "the decision was taken away")


def _faults_of_verifications(connection: sa.Connection, told: dict[str, Line]) -> Iterator[Fault]:
    found = set[str]()
    finished = sa.select(verification.c.id).where(verification.c.finished_at.is_not(None)).order_by(verification.c.id)
    for number in connection.scalars(finished).all():
        subject = f"verification/{number}"
        found.add(subject)
        line = told.get(subject)
        if line is None or line.act != Act.VERIFIED:
            yield Fault(0, subject, "a verification that has not finished in the chain")
        elif line.digest != _digest_of_verification(connection, number):
            yield Fault(line.seq, subject, "the verification or its checks were changed after it had finished")
    yield from _gone(told, found, Act.VERIFIED, "the verification was taken away")


def _gone(told: dict[str, Line], found: set[str], act: Act, problem: str) -> Iterator[Fault]:
    for subject, line in told.items():
        if line.act == act and subject not in found:
            yield Fault(line.seq, subject, problem)


def hash_of(before: str, *values: object) -> str:
    """SHA-256 of a line and of the hash before it, in 64 digits."""
    return hashlib.sha256(_text([before, *values])).hexdigest()


def digest_of_row(row: Sequence[Any]) -> str:
    """SHA-256 of the values of a row."""
    return hashlib.sha256(_text(list(row))).hexdigest()


def _digest_of_verification(connection: sa.Connection, number: int) -> str:
    """Of the verification with all results of its checks."""
    [row] = connection.execute(sa.select(*_OF_VERIFICATION).where(verification.c.id == number)).all()
    own = sa.select(*_OF_CHECK).where(check.c.verification_id == number).order_by(check.c.name, check.c.entity)
    return hashlib.sha256(_text([list(row), *(list(one) for one in connection.execute(own))])).hexdigest()


def _text(values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
