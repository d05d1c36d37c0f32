"""A Medplum in memory: what the client relies on, and no more. `test_contract` proves it against the embedded one.

Batches with `ifMatch` and `ifNoneExist`, reads by id and by version, searches by identifier, id and `_lastUpdated`,
histories with authors, deletion (410) and restoration. A version is stamped before it shows, and searches may lag.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Resource = dict[str, Any]
Answer = dict[str, Any]

PROJECT, CLIENT, USER = "Project/simulated", "ClientApplication/medferry", "Practitioner/user"
_DEFAULT_COUNT, _SUBSETTED = 20, {"system": "http://hl7.org/fhir/v3/ObservationValue", "code": "SUBSETTED"}
_OF_META = ("profile", "security", "source", "tag")
"""What of it is content."""
_INFORMATION = {"200": ("ok", "All OK"), "201": ("created", "Created")}
_ERRORS = {
    "404": ("not-found", "not-found", "Not found"),
    "410": ("gone", "deleted", "Gone"),
    "412": ("precondition-failed", "processing", "Precondition Failed"),
}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource; without a body it was deleted. `at`: of Medplum's clock, in seconds."""

    id: str
    at: float
    author: str
    body: Resource | None


@dataclass
class Medplum:
    """`present` is Medplum's own clock in seconds, `instant` writes one. `lag`: seconds that searches are behind."""

    present: Callable[[], float]
    instant: Callable[[float], str]
    lag: float = 0.0
    versions: dict[tuple[str, str], list[Version]] = field(default_factory=dict)
    """(resource type, id) → its versions, the oldest first."""
    numbers: int = 0
    slow: list[tuple[float, tuple[str, str], str, Version]] = field(default_factory=list)
    """Versions that are stamped and not committed: (when they will be, of what, its version until then, version)."""

    def copied(self) -> Medplum | None:
        """Another one with the same content: versions never change."""
        return Medplum(
            self.present, self.instant, 0.0, {place: list(one) for place, one in self.versions.items()}, self.numbers
        )

    # -- one request -------------------------------------------------------------------------------

    def batch(self, bundle: Resource, author: str, extended: bool = False) -> Resource:
        """What a batch is answered: each entry by itself, in order."""
        self._commit_slow()
        entries = [self._entry(entry, author, extended) for entry in bundle["entry"]]
        return {"resourceType": "Bundle", "type": "batch-response", "entry": entries}

    def _entry(self, entry: Resource, author: str, extended: bool) -> Answer:
        request = entry["request"]
        path, _, query = request["url"].partition("?")
        kind, *rest = path.split("/")
        if request["method"] == "POST":
            return self._create(kind, entry["resource"], request.get("ifNoneExist", ""), author)
        if request["method"] == "PUT":
            return self._update(kind, rest[0], entry["resource"], request.get("ifMatch", ""), author)
        if request["method"] == "DELETE":
            return self._delete(kind, rest[0], author)
        if rest:
            return self._read(kind, rest, extended)
        return _ok(self._search(kind, parse_qsl(query), extended), located=False)

    def _create(self, kind: str, body: Resource, condition: str, author: str) -> Answer:
        if condition:
            found = self._matches(kind, parse_qsl(condition))
            if found:
                return _ok(self._shown(kind, found[0], self.versions[kind, found[0]][-1], False))
        self.numbers += 1
        id_ = f"{self.numbers:08x}-0000-4000-8000-000000000000"
        return _ok(self._stored(kind, id_, body, author), "201")

    def _update(self, kind: str, id_: str, body: Resource, condition: str, author: str) -> Answer:
        versions = self.versions.get((kind, id_))
        if versions is None:
            return _refused("404")
        latest = versions[-1]
        if condition and (latest.body is None or condition != f'W/"{latest.id}"'):
            return _refused("412")
        if latest.body is not None and _content(latest.body) == _content(body):
            return _ok(self._shown(kind, id_, latest, False))
        return _ok(self._stored(kind, id_, body, author))

    def _delete(self, kind: str, id_: str, author: str) -> Answer:
        versions = self.versions.get((kind, id_))
        if versions is None:
            return _refused("404")
        if versions[-1].body is not None:
            self._add(kind, id_, None, author)
        return {"response": {"outcome": _told("200"), "status": "200"}}

    def _read(self, kind: str, rest: list[str], extended: bool) -> Answer:
        versions = self.versions.get((kind, rest[0]), [])
        if len(rest) == 3:
            found = next((one for one in versions if one.id == rest[2]), None)
        else:
            found = versions[-1] if versions else None
        if found is None:
            return _refused("404")
        return _refused("410") if found.body is None else _ok(self._shown(kind, rest[0], found, extended))

    def history(self, kind: str, id_: str, offset: int, count: int) -> Resource | None:
        """The newest first; None where there never was such a resource."""
        versions = self.versions.get((kind, id_))
        if versions is None:
            return None
        entries = [
            {"resource": self._shown(kind, id_, one, True)} if one.body is not None else {"response": {"status": "410"}}
            for one in reversed(versions)
        ]
        return {"resourceType": "Bundle", "type": "history", "entry": entries[offset : offset + count]}

    # -- slow transactions -------------------------------------------------------------------------

    def put_slowly(self, kind: str, id_: str, body: Resource, author: str, seconds: float) -> None:
        """An update whose version has its time now and can be seen so many seconds later, if nobody was faster."""
        self.numbers += 1
        version = Version(f"{self.numbers:08x}-0000-4000-9000-000000000000", self.present(), author, body)
        self.slow.append((version.at + seconds, (kind, id_), self.versions[kind, id_][-1].id, version))

    def _commit_slow(self) -> None:
        if not self.slow:
            return
        now = self.present()
        for due, place, before, version in [one for one in self.slow if one[0] <= now]:
            if self.versions[place][-1].id == before:
                self.versions[place].append(version)
            self.slow.remove((due, place, before, version))

    # -- searching ---------------------------------------------------------------------------------

    def _search(self, kind: str, form: list[tuple[str, str]], extended: bool) -> Resource:
        given = dict(form)
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset"}
        ids = self._matches(kind, form)
        if given.get("_summary") == "count":
            return {**bundle, "total": len(ids)}
        shown = {id_: version for id_ in ids if (version := self._visible(kind, id_)) is not None}
        wanted = given.get("_sort", "")
        if wanted:
            assert wanted.removeprefix("-") == "_lastUpdated"
            order = sorted(shown, key=lambda id_: (shown[id_].at, id_), reverse=wanted.startswith("-"))
        else:
            order = list(shown)
        count = int(given.get("_count", _DEFAULT_COUNT))
        fields = given.get("_fields", "")
        found = [_trimmed(self._shown(kind, id_, shown[id_], extended), fields) for id_ in order[:count]]
        following = [] if len(order) <= count else [self._next(kind, form, shown[order[count - 1]])]
        entries = {"entry": [{"resource": one} for one in found]} if found else {}
        return {**bundle, **entries, "link": following}

    def _next(self, kind: str, form: list[tuple[str, str]], last: Version) -> Resource:
        rest = [f"{name}={value}" for name, value in form if name != "_lastUpdated"]
        since = f"_lastUpdated=ge{self.instant(last.at)}"
        return {"relation": "next", "url": f"http://medplum/fhir/R4/{kind}?{'&'.join([*rest, since])}"}

    def _matches(self, kind: str, form: list[tuple[str, str]]) -> list[str]:
        return [
            id_
            for (of, id_) in self.versions
            if of == kind and (version := self._visible(kind, id_)) and all(self._fits(id_, version, *x) for x in form)
        ]

    def _fits(self, id_: str, version: Version, name: str, value: str) -> bool:
        if name == "_id":
            return id_ in value.split(",")
        if name == "_lastUpdated":
            assert value.startswith("ge")
            return self.instant(version.at) >= value[2:]
        if name == "identifier":
            names = (version.body or {}).get("identifier", [])
            has = {f"{one.get('system', '')}|{one.get('value', '')}" for one in names}
            has |= {f"{one.partition('|')[0]}|" for one in has}
            return not has.isdisjoint(value.split(","))
        if name == "_tag":
            has = {f"{one['system']}|{one['code']}" for one in (version.body or {}).get("meta", {}).get("tag", [])}
            return value in has
        assert name in ("_count", "_fields", "_sort", "_summary"), f"no search by {name} here"
        return True

    def _visible(self, kind: str, id_: str) -> Version | None:
        """The newest version that a search sees; None where it sees none, or a deleted one."""
        until = self.present() - self.lag
        seen = next((one for one in reversed(self.versions[kind, id_]) if one.at <= until), None)
        return seen if seen and seen.body is not None else None

    # -- storing -----------------------------------------------------------------------------------

    def _stored(self, kind: str, id_: str, body: Resource, author: str) -> Resource:
        return self._shown(kind, id_, self._add(kind, id_, copy.deepcopy(body), author), False)

    def _add(self, kind: str, id_: str, body: Resource | None, author: str) -> Version:
        self.numbers += 1
        version = Version(f"{self.numbers:08x}-0000-4000-9000-000000000000", self.present(), author, body)
        self.versions.setdefault((kind, id_), []).append(version)
        return version

    def _shown(self, kind: str, id_: str, version: Version, extended: bool) -> Resource:
        body = version.body or {}
        meta = {
            **{name: value for name, value in body.get("meta", {}).items() if name not in ("author", "project")},
            "versionId": version.id,
            "lastUpdated": self.instant(version.at),
        }
        if extended:
            meta |= {"author": {"reference": version.author}, "project": PROJECT.partition("/")[2]}
        return {**body, "resourceType": kind, "id": id_, "meta": meta}

    # -- looking, for users and checkers -----------------------------------------------------------

    def named(self, kind: str, identifier: Resource) -> list[tuple[str, list[Version]]]:
        """Id → versions of every resource of a type that has ever had an identifier."""
        self._commit_slow()
        return [
            (id_, versions)
            for (of, id_), versions in self.versions.items()
            if of == kind and any(one.body and identifier in one.body.get("identifier", []) for one in versions)
        ]


def _content(body: Resource) -> str:
    meta = {name: value for name, value in body.get("meta", {}).items() if name in _OF_META}
    rest = {name: value for name, value in body.items() if name not in ("id", "meta", "resourceType")}
    return json.dumps([rest, meta], sort_keys=True)


def _trimmed(resource: Resource, fields: str) -> Resource:
    if not fields:
        return resource
    kept = {"resourceType", *fields.split(",")}
    trimmed = {name: value for name, value in resource.items() if name in kept}
    return trimmed | {"meta": {**resource["meta"], "tag": [*resource["meta"].get("tag", []), _SUBSETTED]}}


def _ok(resource: Resource, status: str = "200", located: bool = True) -> Answer:
    location = {"location": f"{resource['resourceType']}/{resource['id']}"} if located else {}
    return {"response": {"outcome": _told(status), "status": status, **location}, "resource": resource}


def _told(status: str) -> Resource:
    id_, text = _INFORMATION[status]
    issue = {"severity": "information", "code": "informational", "details": {"text": text}}
    return {"resourceType": "OperationOutcome", "id": id_, "issue": [issue]}


def _refused(status: str) -> Answer:
    id_, code, text = _ERRORS[status]
    issue = {"severity": "error", "code": code, "details": {"text": text}}
    outcome = {"resourceType": "OperationOutcome", "id": id_, "issue": [issue]}
    return {"response": {"outcome": outcome, "status": status}}
