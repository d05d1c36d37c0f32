"""The judgement of twins: what cannot be told counts against removing."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.apply import referrers
from medferry.apply.referrers import find_referrers
from medferry.apply.twins import (
    Kept,
    References,
    Seen,
    Twin,
    judge_authors,
    judge_contents,
    judge_names,
    judge_references,
)
from medferry.manifest.crosswalk import CrosswalkEntry
from medferry.medplum.errors import MedplumUnavailable, RequestFailed, Unauthorised

OURS = "ClientApplication/1"
TWIN = Twin("patient", ("https://x.example/patient", "1"), "twin", CrosswalkEntry("known", "k1", "hash", "Patient"))


def patient(id_: str, version: str, **members: object) -> dict[str, Any]:
    meta = {"versionId": version, "author": {"reference": OURS}}
    return {"resourceType": "Patient", "id": id_, "meta": meta, "gender": "female", **members}


def written(*versions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"resource": version} for version in versions]


KNOWN = patient("known", "k1")


def authored(history: list[dict[str, Any]], ours: str = OURS) -> Kept | None:
    reason = judge_authors(Seen(patient("twin", "t1"), KNOWN, (history, written(KNOWN)), ours))
    return reason.why if reason else None


def by(author: object, version: str = "t1", **meta: object) -> dict[str, Any]:
    return patient("twin", version) | {"meta": {"versionId": version, "author": author, **meta}}


def test_what_we_wrote_in_each_version_is_ours() -> None:
    assert authored(written(patient("twin", "t1"), patient("twin", "t0"))) is None


@pytest.mark.parametrize(
    ("history", "kept"),
    [
        ([], Kept.AUTHOR_UNKNOWN),
        (written(patient("twin", "t2"), patient("twin", "t1")), Kept.AUTHOR_UNKNOWN),
        (written(patient("twin", "t1"), patient("twin", "t1")), Kept.AUTHOR_UNKNOWN),
        ([*written(patient("twin", "t1")), {"response": {"status": "410"}}], Kept.AUTHOR_UNKNOWN),
        (written(by({})), Kept.AUTHOR_UNKNOWN),
        (written(patient("twin", "t1"), by({"reference": "Practitioner/9"}, "t0")), Kept.OTHER_AUTHOR),
        (written(by({"reference": OURS}, onBehalfOf={"reference": "Practitioner/9"})), Kept.OTHER_AUTHOR),
    ],
)
def test_what_another_wrote_or_nobody_can_tell_is_not(history: list[dict[str, Any]], kept: Kept) -> None:
    assert authored(history) == kept


def test_who_does_not_know_itself_is_nobody_s_author() -> None:
    assert authored(written(patient("twin", "t1")), ours="") == Kept.AUTHOR_UNKNOWN


def test_what_medplum_adds_is_no_content() -> None:
    added = {"versionId": "t1", "lastUpdated": "2026-01-01T00:00:00Z", "accounts": [{"reference": "Organization/1"}]}
    seen = Seen(patient("twin", "t1") | {"meta": added}, KNOWN, ((), ()), OURS)
    assert judge_contents(TWIN, seen) is None


@pytest.mark.parametrize(("base", "is_twin"), [("https://storage.example/", True), ("https://old.example/", False)])
def test_a_twin_whose_documents_are_in_another_storage_is_none(base: str, is_twin: bool) -> None:
    id_ = "18aa9dfc-35fd-4902-bf1c-b33e3122b8f5"
    photos = [[{"url": f"{host}{id_}?Expires=1&Signature=abc"}] for host in (base, "https://storage.example/")]
    twin, known = patient("twin", "t1", photo=photos[0]), patient("known", "k1", photo=photos[1])
    assert (judge_contents(TWIN, Seen(twin, known, ((), ()), OURS)) is None) is is_twin


@pytest.mark.parametrize(
    ("twin", "known", "kept"),
    [
        (None, KNOWN, Kept.UNREADABLE),
        (patient("twin", "t1"), None, Kept.ORIGINAL_MISSING),
        (patient("twin", "t1"), patient("known", "k2"), Kept.ORIGINAL_CHANGED),
        (patient("twin", "t1", active=True), KNOWN, Kept.OTHER_CONTENT),
        (patient("twin", "t1", gender="male"), KNOWN, Kept.OTHER_CONTENT),
        ({**patient("twin", "t1"), "meta": {"versionId": "t1", "tag": [{"code": "x"}]}}, KNOWN, Kept.OTHER_CONTENT),
    ],
)
def test_only_one_and_the_same_content_is_a_twin(twin: Any, known: Any, kept: Kept) -> None:
    reason = judge_contents(TWIN, Seen(twin, known, ((), ()), OURS))
    assert reason is not None
    assert reason.why == kept


def test_an_open_note_about_any_of_its_names_keeps_it() -> None:
    other = ("https://x.example/patient/other", "7")
    resource = patient("twin", "t1", identifier=[{"system": other[0], "value": other[1]}])
    assert judge_names(TWIN, resource, {other}, set()) is not None
    assert judge_names(TWIN, None, {TWIN.name}, set()) is not None
    assert judge_names(TWIN, resource, {("https://x.example/patient", "2")}, {"known"}) is None


def test_references_of_which_one_could_not_be_looked_for_keep_it() -> None:
    assert judge_references(TWIN, References()) is None
    assert str(judge_references(TWIN, References({"Patient/twin": ["Basic/1"]}))) == f"{Kept.REFERRED_TO} (Basic/1)"
    unchecked = judge_references(TWIN, References({}, ("Basic?subject", "Group?member", "List?item", "Task?focus")))
    assert str(unchecked).endswith("(Basic?subject, Group?member, List?item and 1 more)")


class Answering:
    """A client whose every search ends as it is told."""

    def __init__(self, answer: object) -> None:
        self.answer, self.asked = answer, 0

    def search(self, *_: object) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"resourceType": "Bundle", "entry": [{"resource": self.answer}]}


@pytest.mark.parametrize("error", [Unauthorised("403"), RequestFailed("500")])
def test_a_search_that_fails_is_told_and_the_others_go_on(error: Exception) -> None:
    client: Any = Answering(error)
    assert len(find_referrers(client, "Patient", ["twin"]).unchecked) == client.asked > 100


def test_a_server_that_is_away_is_not_asked_on() -> None:
    client: Any = Answering(MedplumUnavailable("away"))
    assert len(find_referrers(client, "Patient", ["twin"]).unchecked) == client.asked == 1


def test_a_match_that_names_none_of_them_is_no_evidence() -> None:
    client: Any = Answering({"resourceType": "Basic", "id": "1", "subject": {"reference": "urn:uuid:unknown"}})
    found = find_referrers(client, "Patient", ["twin"])
    assert not found.found
    assert found.unchecked


def test_a_full_page_may_hide_more(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = Answering({"resourceType": "Basic", "id": "1", "subject": {"reference": "Patient/twin"}})
    assert find_referrers(client, "Patient", ["twin", "other"]).unchecked == ()
    monkeypatch.setattr(referrers, "PAGE", 1)
    found = find_referrers(client, "Patient", ["twin", "other"])
    assert found.found == {"Patient/twin": ["Basic/1"]}
    assert found.unchecked
