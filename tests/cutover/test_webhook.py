"""The webhook's nudge: signed, tried again while it may help, and never in anybody's way."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medferry.cutover.routing import ALL_OTHER, Route, Routing, Writes
from medferry.cutover.webhook import SIGNATURE, nudge
from medferry.fhir.sides import Side
from tests.cli.test_gate_command import folder, medferry  # noqa: F401 -- a fixture

ROUTING = Routing.of(
    "tiny", [Route(unit="north", domain=ALL_OTHER, reads=Side.MEDPLUM, writes=Writes.MEDPLUM, epoch=1)], version=4
)
SECRET = "a secret of both"


@dataclass
class Receiver:
    """Answers with each status of `answers` in turn, then 204."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append((self.headers[SIGNATURE], body))
            self.send_response(found.answers.pop(0) if found.answers else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield found
    server.shutdown()
    server.server_close()


def told(receiver: Receiver, pauses: Callable[[float], None] = lambda _: None) -> bool:
    return nudge(receiver.url, SECRET, ROUTING, pauses)


def test_it_says_what_changed_and_is_signed(receiver: Receiver) -> None:
    assert told(receiver)
    [(signed, body)] = receiver.got
    assert json.loads(body) == {"migration": "tiny", "version": 4, "digest": ROUTING.digest}
    at, mac = (part.partition("=")[2] for part in signed.split(","))
    assert mac == hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("answers", "tries", "taken"),
    [
        ([503, 429], 3, True),
        ([503, 503, 503], 3, False),
        ([400], 1, False),  # it will never take it
        ([302], 3, False),  # not followed: the body is for this address
    ],
)
def test_it_is_tried_again_while_it_may_help(receiver: Receiver, answers: list[int], tries: int, taken: bool) -> None:
    receiver.answers = answers + [302] * 2 if answers == [302] else answers
    pauses: list[float] = []
    assert told(receiver, pauses.append) is taken
    assert (len(receiver.got), len(pauses)) == (tries, tries - 1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/nobody", "no url at all", "http://[::1"])
def test_nobody_there_raises_nothing(url: str) -> None:
    assert not nudge(url, SECRET, ROUTING, lambda _: None)


def test_a_publication_nudges_once(
    folder: Path,  # noqa: F811
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDFERRY_ROUTING_FILE", str(folder.parent / "routing.json"))
    monkeypatch.setenv("MEDFERRY_ROUTING_WEBHOOK", receiver.url)
    assert medferry(folder, "gate", "install", "--apply").exit_code == 0
    refused = medferry(folder, "routing", "publish")
    assert "MEDFERRY_ROUTING_WEBHOOK_SECRET is not set" in refused.output and not receiver.got
    monkeypatch.setenv("MEDFERRY_ROUTING_WEBHOOK_SECRET", SECRET)
    for _ in range(2):
        assert medferry(folder, "routing", "publish").exit_code == 0
    assert [json.loads(body)["version"] for _, body in receiver.got] == [1]
