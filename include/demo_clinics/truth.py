"""The truth: what must become of every row, kept while the rows are made and written as JSON and compressed NDJSON."""

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from demo_clinics.catalogue import SUCCESSFUL
from demo_clinics.expected import expected
from demo_clinics.record import Record

Outcome = dict[str, str | None]


@dataclass(slots=True)
class Truth:
    """What must become of the rows.

    counts: (entity, unit, disposition, reason) → rows; reason None for successful ones.
    rows: every row that is not successful (entity, key, unit, disposition, reason, kind).
    findings: of successful rows (entity, key, unit, reason, field, kind).
    dirt: (entity, kind) → rows dealt; resources: FHIR type → number expected.
    outside: table → keys of rows that belong to no source record.
    """

    counts: Counter[tuple[str, str, str, str | None]] = field(default_factory=Counter)
    rows: list[Outcome] = field(default_factory=list)
    findings: list[Outcome] = field(default_factory=list)
    dirt: Counter[tuple[str, str]] = field(default_factory=Counter)
    resources: Counter[str] = field(default_factory=Counter)
    outside: dict[str, list[int]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def note(self, record: Record) -> None:
        """Account for a record. All that it references must have been dealt its dirt."""
        disposition, reason = record.outcome()
        unit = {"entity": record.entity, "key": str(record.key), "unit": record.unit}
        self.counts[record.entity, record.unit, disposition, reason] += 1
        if record.kind:
            self.dirt[record.entity, record.kind.name] += 1
        if disposition != SUCCESSFUL:
            self.rows.append({**unit, "disposition": disposition, "reason": reason, "kind": record.kind_name})
        elif record.kind and record.kind.reason:
            kind = record.kind
            self.findings.append({**unit, "reason": kind.reason, "field": kind.field, "kind": kind.name})

    def eligible(self, entity: str | None = None, unit: str | None = None) -> int:
        """The number of rows, of an entity and a unit if given."""
        return sum(n for (e, u, _, _), n in self.counts.items() if entity in (None, e) and unit in (None, u))

    def as_json(self) -> dict[str, Any]:
        """The content of truth.json."""
        return {
            "settings": self.settings,
            "counts": _nested(self.counts.items()),
            "resources": dict(sorted(self.resources.items())),
            "dirt": _nested(self.dirt.items()),
            "outside": self.outside,
            "findings": self.findings,
            "rows": self.rows,
        }


def _nested(items: Iterable[tuple[tuple[str | None, ...], int]]) -> dict[str, Any]:
    """{(a, b, c): n} as {a: {b: {c: n}}}, keys in order; a last None is left out ({a: {b: n}})."""
    tree: dict[str, Any] = {}
    for path, number in sorted(items, key=lambda item: tuple(str(p or "") for p in item[0])):
        steps = [step for step in path if step is not None]
        node = tree
        for step in steps[:-1]:
            node = node.setdefault(step, {})
        node[steps[-1]] = number
    return tree


class TruthFile:
    """Writes truth.json and beside it truth.expected.ndjson.gz: the same bytes for the same truth."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.expected_path = path.with_suffix("").with_suffix(".expected.ndjson.gz")
        self._raw: IO[bytes] | None = None
        self._gzip: gzip.GzipFile | None = None

    def __enter__(self) -> Self:
        self._raw = self.expected_path.open("wb")
        # No time and no name in the header: they would change the bytes.
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, compresslevel=4, mtime=0)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._gzip and self._raw
        self._gzip.close()
        self._raw.close()

    def expect(self, line: dict[str, Any]) -> None:
        """Add the expectation of one resource."""
        assert self._gzip
        self._gzip.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def finish(self, truth: Truth) -> None:
        """Write the JSON file."""
        content = truth.as_json() | {"expected": self.expected_path.name}
        self.path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def expectations(record: Record) -> Iterator[dict[str, Any]]:
    """One line per resource of a successful record: entity, key, unit, slot, resource, absent."""
    if not record.successful:
        return
    for slot, resource, absent in expected(record):
        yield {
            "entity": record.entity, "key": str(record.key), "unit": record.unit, "slot": slot, "resource": resource,
            "absent": absent,
        }  # fmt: skip


def read_expectations(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of an `.expected.ndjson.gz` file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
