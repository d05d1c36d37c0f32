"""Whoever answers in Medplum's place: sizes and depths are bounded, chains end, ids have a form, none is followed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx
import orjson
import pytest

from medferry.medplum.budget import Budget
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import AnswerUnfit, MedplumUnavailable, NoVerdict
from medferry.medplum.form import MOST_DEPTH, in_parts, is_id, refuse_deep
from medferry.medplum.outcome import issue_text, throttled_seconds
from medferry.verification.content import binary_id
from tests.medplum.hostile import Hostile, Planted, bundle, in_batch, served

CREATE = [{"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}]
GOOD = {"resourceType": "Patient", "id": "p-1", "meta": {"versionId": "v-1"}}


def nested(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = {"extension": value}
    return value


def asked(hostile: Hostile, ask: Callable[[MedplumClient], object]) -> object:
    with served(hostile), MedplumClient(hostile.base_url, "id", "secret") as client:
        return ask(client)


def answering(body: bytes, **planted: Any) -> Hostile:
    return Hostile(lambda _: Planted(body, **planted))


def search(client: MedplumClient) -> object:
    return client.search("Patient", [])


def texts(client: MedplumClient) -> object:
    return client.texts_by_id("Patient", ["p-1"])


def read(client: MedplumClient) -> object:
    return client.read_each([("Patient", "p-1")])


def write(client: MedplumClient) -> object:
    return client.batch(CREATE, 0)


def endless(write: Callable[[bytes], object]) -> None:
    for _ in count():
        write(b" " * 65_536)


@pytest.mark.parametrize("ask", [search, texts, read, write, lambda client: client.upload([b""], 0, "x/y")])
def test_an_answer_without_end_is_given_up_after_its_bound(
    ask: Callable[[MedplumClient], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_parts, "__defaults__", (1 << 20, *in_parts.__defaults__[1:]))  # type: ignore[index]
    hostile = Hostile(lambda _: Planted(endless))
    with pytest.raises(AnswerUnfit, match="longer than 1 MiB"):
        asked(hostile, ask)
    assert len(hostile.asked) == 1, "to ask again would take as long again"


def test_a_token_without_end_and_a_binary_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_parts, "__defaults__", (1 << 20, *in_parts.__defaults__[1:]))  # type: ignore[index]
    with pytest.raises(AnswerUnfit, match="longer"):
        asked(Hostile(lambda _: Planted(b"{}"), token=Planted(endless)), search)
    monkeypatch.setattr("medferry.medplum.binaries.MOST_BYTES_OF_A_BINARY", 2 << 20)
    with pytest.raises(AnswerUnfit, match="longer than 2 MiB"):
        asked(Hostile(lambda _: Planted(endless)), lambda client: client.binary_digest("b-1"))


def test_what_unpacks_to_more_than_the_bound_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_parts, "__defaults__", (1 << 20, *in_parts.__defaults__[1:]))  # type: ignore[index]
    bomb = answering(gzip.compress(b" " * (8 << 20)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(AnswerUnfit, match="longer than 1 MiB"):
        asked(bomb, search)
    with pytest.raises(AnswerUnfit, match="cannot be unpacked"):
        asked(answering(b"no gzip", headers={"Content-Encoding": "gzip"}), search)


def test_an_answer_that_drips_is_given_up_after_its_time() -> None:
    slow = httpx.Response(200, content=(b"x" for _ in count()))
    with pytest.raises(AnswerUnfit, match=r"no end after 1,800 s"):
        for _ in in_parts(slow, clock=iter(range(0, 10_000, 600)).__next__):
            pass


@pytest.mark.parametrize("levels", [MOST_DEPTH + 50, 900, 5_000, 200_000])
@pytest.mark.parametrize("ask", [search, texts, read, write])
def test_a_resource_too_deep_to_walk_is_refused(ask: Callable[[MedplumClient], object], levels: int) -> None:
    deep = b'{"extension":' * levels + b"1" + b"}" * levels
    resource = b'{"resourceType":"Patient","id":"p-1","meta":{"versionId":"v"},"x":' + deep + b"}"
    found = b'{"resourceType":"Bundle","entry":[{"resource":' + resource + b"}]}"
    inner = {search: found, texts: found, read: resource, write: resource}[ask]
    body = b'{"entry":[{"response":{"status":"200"},"resource":' + inner + b"}]}"
    if ask is write and levels < 1_000:
        return  # nothing but its id is looked at
    with pytest.raises(MedplumUnavailable):
        asked(answering(body), ask)


def test_depth_is_counted_outside_of_texts_and_breadth_is_no_depth() -> None:
    refuse_deep(orjson.dumps(nested(MOST_DEPTH)))
    refuse_deep(orjson.dumps([{"text": '{[\\"[{' * 500}] * 500))
    with pytest.raises(AnswerUnfit, match=f"more than {MOST_DEPTH} levels"):
        refuse_deep(orjson.dumps({"text": '"}' * 500, "x": nested(MOST_DEPTH)}))


def page_of(number: int, following: str | None) -> Planted:
    resource = {**GOOD, "id": f"p-{number}", "meta": {"lastUpdated": f"2026-01-01T00:00:{number % 60:02}Z"}}
    return Planted(in_batch(bundle(resource, following=following)))


def test_a_chain_of_pages_that_comes_back_to_itself_ends() -> None:
    hostile = Hostile(lambda n: page_of(n, f"https://elsewhere.example/x?_cursor={n % 3}"))
    with pytest.raises(NoVerdict, match="come to no end"):
        asked(hostile, lambda client: list(client.search_all("Patient", [])))
    assert len(hostile.asked) == 4
    assert {path for _, path in hostile.asked} == {"/fhir/R4/"}, "the server's address, whatever a link says"


def test_a_chain_of_ever_new_pages_ends() -> None:
    hostile = Hostile(lambda n: page_of(n, f"?_cursor={n}"))
    with pytest.raises(NoVerdict, match="come to no end"):
        asked(hostile, lambda client: list(client.search_all("Patient", [], most=7)))
    assert len(hostile.asked) == 7


def test_a_history_without_end_ends() -> None:
    page = orjson.dumps(bundle(*[GOOD] * 100))
    hostile = answering(page)
    with pytest.raises(NoVerdict, match="does not come to an end"):
        asked(hostile, lambda client: client.history("Patient", "p-1"))
    assert len(hostile.asked) == 20


BAD_IDS = ("../../admin", "a/b", "a?b", "x y", "\x1b[2J", "a\nb", "x" * 65, "..", "é")


@pytest.mark.parametrize("bad", BAD_IDS)
def test_an_id_that_is_none_is_taken_over_from_nowhere(bad: str) -> None:
    assert not is_id(bad)
    resource = {**GOOD, "id": bad}
    for ask, body in (
        (search, in_batch(bundle(resource))),
        (texts, in_batch(bundle(resource))),
        (texts, in_batch(bundle({**GOOD, "meta": {"versionId": bad}}))),
        (read, in_batch(resource)),
        (write, in_batch(resource, status="201")),
        (write, in_batch({**GOOD, "meta": {"versionId": bad}}, status="201")),
        (lambda client: client.upload([b""], 0, "x/y"), orjson.dumps({"resourceType": "Binary", "id": bad})),
        (
            lambda client: client.create_unless({"resourceType": "Basic"}, "x=y"),
            orjson.dumps({"resourceType": "Basic", "id": bad}),
        ),
    ):
        with pytest.raises(MedplumUnavailable) as raised:
            asked(Hostile(lambda n, body=body: Planted(body) if n < 20 else Planted(b"")), _without_retries(ask))  # type: ignore[misc]
        assert bad not in str(raised.value)


def _without_retries(ask: Callable[[MedplumClient], object]) -> Callable[[MedplumClient], object]:
    def once(client: MedplumClient) -> object:
        client.waits.sleep = lambda *_: None  # type: ignore[method-assign]
        client._answered_at = -1e9
        return ask(client)

    return once


@pytest.mark.parametrize("bad", BAD_IDS)
def test_a_path_of_a_binary_leads_to_a_binary_and_nowhere_else(bad: str) -> None:
    assert binary_id(f"Binary/{bad}") is None
    hostile = answering(b"x")
    with pytest.raises(AnswerUnfit, match="id of a Binary"):
        asked(hostile, lambda client: client.binary_digest(bad))
    assert hostile.asked == []


def test_who_a_token_says_we_are_has_a_form() -> None:
    told = {"access_token": "t", "project": {"id": "\x1b[2J"}, "profile": {"reference": "ClientApplication/../x"}}
    hostile = Hostile(lambda _: Planted(b"{}"), token=Planted(orjson.dumps(told)))
    assert asked(hostile, lambda client: (client.project(), client.profile())) == ("", "")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_nowhere(status: int) -> None:
    with served(answering(b"")) as other:
        elsewhere = {"Location": f"{other.base_url}fhir/R4/"}
        hostile = answering(b"", status=status, headers=elsewhere)
        for ask in (search, read, write, lambda client: client.find("Patient", []), lambda c: c.binary_digest("b-1")):
            with pytest.raises(AnswerUnfit, match="A redirect answered"):
                asked(hostile, ask)
        with pytest.raises(AnswerUnfit, match="A redirect answered"):
            asked(Hostile(lambda _: Planted(b""), token=Planted(b"", status, elsewhere)), search)
        assert other.asked == []


def test_a_reason_holds_no_more_than_a_code_and_a_path() -> None:
    issue = {"severity": "error", "code": "\x1b[2J invalid", "expression": ["Patient.name", "Ada Byron", 7, "\x1b[2J"]}
    assert issue_text({"issue": [issue]}) == "unknown at Patient.name"
    assert issue_text({"issue": [{**issue, "expression": 7}]}) == "unknown"


@pytest.mark.parametrize("asked_for", ["1e300", "NaN", "-1", "Infinity"])
def test_a_server_makes_nobody_wait_for_ever(asked_for: str) -> None:
    told = {"issue": [{"diagnostics": f'{{"_msBeforeNext":"{asked_for}"}}'}]}
    assert 0 < throttled_seconds(told) <= 600
    slept: list[float] = []
    now = [0.0]
    budget = Budget(clock=lambda: now[0], sleep=lambda s: (slept.append(s), now.__setitem__(0, now[0] + s))[0])  # type: ignore[func-returns-value]
    budget.learn({"ratelimit": '"fhirInteractions";r=0;t=999999999999'})
    budget._try(1)
    budget.learn({"ratelimit": f'"fhirInteractions";r=0;t={"9" * 5_000}'})
    assert budget._reset_at <= 600


@pytest.mark.parametrize(
    "body", [b"[]", b"7", b'{"resourceType":"Bundle","entry":7}', b'{"resourceType":"Bundle","entry":[7]}']
)
def test_a_bundle_of_another_shape_is_none(body: bytes) -> None:
    answer = b'{"entry":[{"response":{"status":"200"},"resource":' + body + b"}]}"
    for ask in (search, texts):
        with pytest.raises(MedplumUnavailable):
            asked(answering(answer), _without_retries(ask))
    links = orjson.dumps({"resourceType": "Bundle", "entry": [], "link": 7})
    with pytest.raises(AnswerUnfit):
        asked(answering(in_batch(orjson.loads(links))), lambda client: list(client.search_all("Patient", [])))
