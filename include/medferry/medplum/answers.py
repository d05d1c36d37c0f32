"""What is read of Medplum's answers, and no more is parsed: a resource stays text until somebody looks into it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import orjson

_NOTHING = msgspec.Raw(b"null")
_RESET = "https://medplum.com/fhir/StructureDefinition/rate-limit-reset"
_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EntryOutcome:
    """What one batch entry itself says; `id` and `version` are those of the resource that came with it, if any.

    `issue` is "code at path", free of values. `placed` tells that a refusal is about the resource.
    """

    status: int
    issue: str = ""
    id: str = ""
    version: str = ""
    placed: bool = True

    @property
    def done(self) -> bool:
        return self.status in (200, 201)


class _Meta(msgspec.Struct):
    versionId: str = ""  # noqa: N815 (FHIR's name)


class _Resource(msgspec.Struct):
    id: str = ""
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Response(msgspec.Struct):
    status: str = "0"
    outcome: msgspec.Raw = _NOTHING


class _Answer(msgspec.Struct):
    response: _Response = msgspec.field(default_factory=_Response)
    resource: _Resource = msgspec.field(default_factory=_Resource)


class _Answers(msgspec.Struct):
    entry: list[_Answer] = []


class _Match(msgspec.Struct):
    resource: msgspec.Raw


class _Matches(msgspec.Struct):
    resourceType: Literal["Bundle"]  # noqa: N815
    entry: list[_Match] = []


class _Read(msgspec.Struct):
    response: _Response = msgspec.field(default_factory=_Response)
    resource: msgspec.Raw = _NOTHING


class _Reads(msgspec.Struct):
    entry: list[_Read] = []


_batch_response = msgspec.json.Decoder(_Answers)
_read_response = msgspec.json.Decoder(_Reads)
_searchset = msgspec.json.Decoder(_Matches)
_resource = msgspec.json.Decoder(_Resource)


def read_outcomes(batch_response: bytes) -> tuple[list[EntryOutcome], float | None]:
    """Every entry's outcome, in order, and how many seconds to wait if one was throttled. Raises ValueError."""
    outcomes: list[EntryOutcome] = []
    wait: float | None = None
    for answer in _batch_response.decode(batch_response).entry:
        code = answer.response.status[:3]
        status = int(code) if code.isdigit() else 0
        issue, placed = "", True
        if status >= 400:
            told = msgspec.json.decode(answer.response.outcome)
            issue, placed = issue_text(told), is_placed(told)
            if status == 429 and wait is None:
                wait = throttled_seconds(told)
        outcomes.append(EntryOutcome(status, issue, answer.resource.id, answer.resource.meta.versionId, placed))
    return outcomes, wait


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What a GET in a batch was answered. `resource` is JSON, "null" when none came."""

    status: int
    resource: bytes
    issue: str = ""
    placed: bool = True


def read_answers(batch_response: bytes) -> tuple[list[ReadAnswer], float | None]:
    """The answer to each read in a batch, in order, and how long to wait if one was throttled. Raises ValueError."""
    answers: list[ReadAnswer] = []
    wait: float | None = None
    for answer in _read_response.decode(batch_response).entry:
        code = answer.response.status[:3]
        status = int(code) if code.isdigit() else 0
        if status < 400:
            answers.append(ReadAnswer(status, bytes(answer.resource)))
            continue
        told = msgspec.json.decode(answer.response.outcome)
        if status == 429 and wait is None:
            wait = throttled_seconds(told)
        answers.append(ReadAnswer(status, bytes(answer.resource), issue_text(told), is_placed(told)))
    return answers, wait


def read_texts(searchset: bytes) -> dict[str, tuple[str, bytes]]:
    """id → (version, JSON) of the resources that a search found. Raises ValueError when it is no Bundle."""
    try:
        texts = [bytes(match.resource) for match in _searchset.decode(searchset).entry]
        heads = [_resource.decode(text) for text in texts]
    except ValueError:
        return _odd_texts(searchset)
    return {head.id: (head.meta.versionId, text) for head, text in zip(heads, texts, strict=True)}


def _odd_texts(searchset: bytes) -> dict[str, tuple[str, bytes]]:
    """The same by the standard library, which reads the lone surrogates that Medplum takes from others."""
    bundle = json.loads(searchset)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise ValueError("no Bundle")
    resources = [entry["resource"] for entry in bundle.get("entry", [])]
    return {one["id"]: (one["meta"]["versionId"], json.dumps(one).encode()) for one in resources}


def read_text(resource: bytes) -> tuple[str, bytes]:
    """(version, JSON) of a resource."""
    try:
        return _resource.decode(resource).meta.versionId, resource
    except ValueError:  # the standard library reads the lone surrogates that Medplum takes from others
        odd = json.loads(resource)
        return odd["meta"]["versionId"], json.dumps(odd).encode()


def is_of_one_moment(page: dict[str, Any]) -> bool:
    """Whether all resources of a page of a search have the same time, where their `meta` was asked for."""
    times = [entry["resource"].get("meta", {}).get("lastUpdated") for entry in page.get("entry", [])]
    return len(times) > 1 and times[0] is not None and len(set(times)) == 1


_INVARIANT = re.compile(r"Constraint ([a-z]+-[0-9]+[a-z]?) not met")
"""How Medplum names the constraint of FHIR that a resource breaks: by its key, which holds no value."""


def issue_text(outcome: Any) -> str:
    """ "code at path" of the first error of an OperationOutcome, an invariant with its key ("invariant ait-1 at …").

    The server's words may quote a value and are left out.
    """
    first = next((issue for issue in _issues(outcome) if issue.get("severity") in ("error", "fatal")), None)
    if first is None:
        return ""
    where = ", ".join(str(path) for path in first.get("expression", []))
    broken = _INVARIANT.match(_text_of(first))
    what = str(first.get("code", "unknown")) + (f" {broken[1]}" if broken else "")
    return f"{what} at {where}" if where else what


def is_placed(outcome: Any) -> bool:
    """Whether an OperationOutcome is about the resource: it names a place in it, or is known to be about its content.

    A database that fails is told as a mere "invalid" (docs/medplum.md, "Batches"), with a text of the database's.
    """
    return any(
        issue.get("expression") or issue.get("location") or _is_about_content(issue) for issue in _issues(outcome)
    )


def verdict_of(outcome: Any) -> str | None:
    """What an OperationOutcome finds wrong with a resource: "code at path", or "" for nothing.

    None where it says nothing about the resource: no OperationOutcome, an empty one, or a fault of the server.
    """
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome" or not _issues(outcome):
        return None
    issue = issue_text(outcome)
    return issue if not issue or is_placed(outcome) else None


def _issues(outcome: Any) -> list[dict[str, Any]]:
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    return [issue for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []


_CONTENT = ("index row", "too large", "multiple resources")
"""What stands in texts that are about a resource, though they name no place: a string too long for an index, a body
beyond the limit, a condition that several match."""


def _is_about_content(issue: dict[str, Any]) -> bool:
    text = _text_of(issue).lower()
    return any(known in text for known in _CONTENT)


def _text_of(issue: dict[str, Any]) -> str:
    details = issue.get("details")
    return str(details.get("text", "") if isinstance(details, dict) else "")


def throttled_seconds(outcome: Any) -> float:
    """Seconds until the quota's reset that a 429 names; a minute when it names none.

    Every version says it in the diagnostics, to the millisecond; 5.2 adds an extension, in whole seconds
    (docs/medplum.md, "Quota").
    """
    if not isinstance(outcome, dict):
        return _WINDOW_SECONDS
    for issue in outcome.get("issue", []):
        try:
            return max(float(orjson.loads(issue["diagnostics"])["_msBeforeNext"]) / 1000, 0.05)
        except (KeyError, TypeError, ValueError):
            continue
    for extension in outcome.get("extension", []):
        if extension.get("url") == _RESET and isinstance(extension.get("valueUnsignedInt"), int):
            return max(float(extension["valueUnsignedInt"]), 0.05)
    return _WINDOW_SECONDS
