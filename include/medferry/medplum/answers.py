"""What is read of Medplum's answers, and no more is parsed: a resource stays text until somebody looks into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import orjson

from medferry.medplum.errors import AnswerUnfit
from medferry.medplum.form import is_id, refuse_deep
from medferry.medplum.outcome import is_placed, issue_text, throttled_seconds

R = TypeVar("R")

_NOTHING = msgspec.Raw(b"null")


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


def shallow(read: Callable[[bytes], R]) -> Callable[[bytes], R]:
    """A reader that raises AnswerUnfit for what is deeper than it can go."""

    @wraps(read)
    def reader(text: bytes) -> R:
        try:
            return read(text)
        except RecursionError:
            refuse_deep(text)
            raise

    return reader


@shallow
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
        id_, version = answer.resource.id, answer.resource.meta.versionId
        if (id_ and not is_id(id_)) or (version and not is_id(version)):
            raise ValueError("an id is none")  # nothing of such an answer is trustworthy
        outcomes.append(EntryOutcome(status, issue, id_, version, placed))
    return outcomes, wait


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What a GET in a batch was answered. `resource` is JSON, "null" when none came."""

    status: int
    resource: bytes
    issue: str = ""
    placed: bool = True


@shallow
def read_answers(batch_response: bytes) -> tuple[list[ReadAnswer], float | None]:
    """The answer to each read in a batch, in order, and how long to wait if one was throttled. Raises ValueError."""
    answers: list[ReadAnswer] = []
    wait: float | None = None
    for answer in _reads(batch_response):
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


def _reads(batch_response: bytes) -> list[_Read]:
    """The entries, also of an answer that holds lone surrogates: one such resource is not to hide all the others."""
    try:
        return _read_response.decode(batch_response).entry
    except ValueError:
        refuse_deep(batch_response)
        bundle = json.loads(batch_response)
    try:
        return [_odd_read(one.get("response", {}), one.get("resource")) for one in bundle.get("entry", [])]
    except (TypeError, AttributeError):
        raise ValueError("no Bundle") from None


def _odd_read(response: dict[str, Any], resource: Any) -> _Read:
    outcome, read = (msgspec.Raw(json.dumps(one).encode()) for one in (response.get("outcome"), resource))
    return _Read(_Response(str(response.get("status", "0")), outcome), read)


def read_bundle(searchset: bytes) -> dict[str, Any]:
    """The Bundle that a search found, each resource of it with an id that is one.

    Raises ValueError when it is none, AnswerUnfit for a resource that is too deep.
    """
    _refuse_deep_resources(searchset)
    bundle = read_json(searchset)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise ValueError("no Bundle")
    for entry in bundle.get("entry", []):
        if not is_id(entry["resource"].get("id")):
            raise ValueError("an id is none")
    return bundle


def read_json(text: bytes) -> Any:
    """A JSON text; where it has lone surrogates, which Medplum takes from others, by the standard library.

    Raises ValueError when it is none, RecursionError.
    """
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)


@shallow
def _refuse_deep_resources(searchset: bytes) -> None:
    try:
        found = _searchset.decode(searchset).entry
    except ValueError:
        refuse_deep(searchset)
        return
    for match in found:
        refuse_deep(bytes(match.resource))


@shallow
def read_texts(searchset: bytes) -> dict[str, tuple[str, bytes]]:
    """id → (version, JSON) of the resources that a search found. Raises ValueError when it is no Bundle."""
    try:
        texts = [bytes(match.resource) for match in _searchset.decode(searchset).entry]
        heads = [_resource.decode(text) for text in texts]
    except ValueError:
        return _odd_texts(searchset)
    for head, text in zip(heads, texts, strict=True):
        _refuse_unfit(head, text)
    return {head.id: (head.meta.versionId, text) for head, text in zip(heads, texts, strict=True)}


def _odd_texts(searchset: bytes) -> dict[str, tuple[str, bytes]]:
    """The same by the standard library, which reads the lone surrogates that Medplum takes from others."""
    refuse_deep(searchset)
    bundle = json.loads(searchset)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise ValueError("no Bundle")
    resources = [entry["resource"] for entry in bundle.get("entry", [])]
    if not all(is_id(one["id"]) for one in resources):
        raise ValueError("an id is none")
    return {one["id"]: (one["meta"]["versionId"], json.dumps(one).encode()) for one in resources}


def _refuse_unfit(head: _Resource, text: bytes) -> None:
    """Raises ValueError for an id that is none, AnswerUnfit for a text that is too deep."""
    version = head.meta.versionId
    if not is_id(head.id) or (version and not is_id(version)):
        raise ValueError("an id is none")
    refuse_deep(text)


@shallow
def read_text(resource: bytes) -> tuple[str, bytes]:
    """(version, JSON) of a resource. Raises ValueError, AnswerUnfit."""
    refuse_deep(resource)
    try:
        head = _resource.decode(resource)
    except ValueError:  # the standard library reads the lone surrogates that Medplum takes from others
        odd = json.loads(resource)
        return odd["meta"]["versionId"], json.dumps(odd).encode()
    _refuse_unfit(head, resource)
    return head.meta.versionId, resource


def next_of(page: dict[str, Any]) -> str | None:
    """The query of the next page of a search; None: there is none. Whose address it is asked at is not the server's.

    Raises AnswerUnfit for links that are none.
    """
    try:
        following = [link["url"] for link in page.get("link", []) if link["relation"] == "next"]
        return urlsplit(following[0]).query if following else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AnswerUnfit(
            "A page of a search does not say where it goes on.", "Check what stands in between."
        ) from None


def is_of_one_moment(page: dict[str, Any]) -> bool:
    """Whether all resources of a page of a search have the same time, where their `meta` was asked for."""
    times = [entry["resource"].get("meta", {}).get("lastUpdated") for entry in page.get("entry", [])]
    return len(times) > 1 and times[0] is not None and len(set(times)) == 1
