"""Stakeholders are told once an occasion, whatever dies or refuses in between; the preview sends nothing."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.errors import OptionError
from medferry.governance.messages import Event, Message, messages
from medferry.manifest.announced import Sending
from medferry.manifest.database import create_manifest
from medferry.plan.load import load_plan
from medferry.runtime.environment import Environment
from medferry.sync.wave import NoSuchWave
from medferry.workflows.announce import NotSent, Send, announce, by_mail
from tests import tiny_platform

PEOPLE = """
timeline: {zone: UTC, waves: {pilot: {opens: "2027-01-16 19:00", closes: "2027-01-17 05:00"}}}
downtime: {longest_freeze_minutes: 1.5}
rollback: {window_days: 14, triggers: [A chart lacks an allergy.]}
stakeholders:
  - {name: Ada, role: director, contact: ada@tiny.example, approves: [cutover, rollback]}
  - {name: The desk, role: front desk, contact: desk@tiny.example}
"""


@pytest.fixture
def told(tiny: Environment, tmp_path: Path) -> Environment:
    (tmp_path / "plan.yaml").write_text((tiny_platform.MIGRATION / "plan.yaml").read_text() + PEOPLE)
    create_manifest(tiny.settings.manifest_url)
    return Environment(replace(tiny.migration, plan=load_plan(tmp_path / "plan.yaml")), tiny.settings)


def states(environment: Environment, event: Event, number: str, send: Send) -> list[tuple[Sending, bool]]:
    return [(one.state, one.before) for one in announce(environment, "pilot", event, number, send)]


def test_each_event_is_told_in_words_of_its_own(told: Environment) -> None:
    found = {event: messages(told.migration.plan, "pilot", event)[0] for event in Event}
    assert len({message.subject for message in found.values()}) == len({m.text for m in found.values()}) == len(Event)
    assert "between 2027-01-16 19:00 and 2027-01-17 05:00 (UTC)" in found[Event.SCHEDULED].text
    assert "for 1.5 minutes at most" in found[Event.FROZEN].text
    assert "For 14 days they can go back" in found[Event.FLIPPED].text
    assert found[Event.DONE].text.startswith("Dear Ada,") and "North clinic" in found[Event.DONE].text
    assert not any("$" in message.text + message.subject for message in found.values())


def test_nobody_is_told_twice_of_one_attempt(told: Environment) -> None:
    sent: list[Message] = []
    assert states(told, Event.FLIPPED, "1", sent.append) == [(Sending.SENT, False)] * 2
    assert states(told, Event.FLIPPED, "1", sent.append) == [(Sending.SENT, True)] * 2
    assert states(told, Event.FLIPPED, "3", sent.append) == [(Sending.SENT, False)] * 2
    assert [message.to.name for message in sent] == ["Ada", "The desk"] * 2
    with pytest.raises(OptionError):
        states(told, Event.FLIPPED, "", sent.append)
    with pytest.raises(NoSuchWave):
        list(announce(told, "noon", Event.DONE, "1", sent.append))


def test_a_window_is_told_once_and_another_one_again(told: Environment) -> None:
    sent: list[Message] = []
    assert states(told, Event.SCHEDULED, "", sent.append) == [(Sending.SENT, False)] * 2
    assert states(told, Event.SCHEDULED, "7", sent.append) == [(Sending.SENT, True)] * 2
    timeline = told.migration.plan.timeline
    assert timeline
    window = timeline.waves["pilot"].model_copy(update={"opens": timeline.waves["pilot"].opens.replace(hour=20)})
    plan = told.migration.plan.model_copy(update={"timeline": timeline.model_copy(update={"waves": {"pilot": window}})})
    later = Environment(replace(told.migration, plan=plan), told.settings)
    assert states(later, Event.SCHEDULED, "", sent.append) == [(Sending.SENT, False)] * 2
    with pytest.raises(OptionError, match="no window"):
        list(announce(told, "rest", Event.SCHEDULED, "", sent.append))


def test_what_was_not_sent_is_tried_again_and_what_perhaps_was_is_not(told: Environment) -> None:
    tried: list[str] = []

    def refuses(message: Message) -> None:
        tried.append(message.to.name)
        if message.to.name == "Ada":
            raise NotSent("The server is away.")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # it dies with the second one under way
        states(told, Event.FROZEN, "1", refuses)
    assert states(told, Event.FROZEN, "1", lambda message: tried.append(message.to.name)) == [
        (Sending.SENT, False),
        (Sending.BEGUN, True),
    ]
    assert tried == ["Ada", "The desk", "Ada"]


def test_by_mail(told: Environment, tmp_path: Path) -> None:
    with mail_server() as (url, mails):
        assert states(told, Event.DONE, "1", by_mail(url, "medferry@tiny.example")) == [(Sending.SENT, False)] * 2
    assert [to for to, _ in mails] == ["<ada@tiny.example>", "<desk@tiny.example>"]
    assert "Subject: Tiny test platform: the move of North clinic is done" in mails[0][1]
    away = by_mail(url, "medferry@tiny.example")
    assert states(told, Event.DONE, "2", away) == [(Sending.NOT_SENT, False)] * 2
    with pytest.raises(OptionError):
        by_mail("http://host", "medferry@tiny.example")


def test_the_preview_sends_nothing(told: Environment, tmp_path: Path) -> None:
    words = ["announce", "pilot", "scheduled", "-m", str(tiny_platform.MIGRATION)]
    shown = CliRunner().invoke(app, words, env=tiny_platform.variables(told.settings))
    assert shown.exit_code == 0  # its plan has no stakeholders
    sent: list[Message] = []
    assert states(told, Event.SCHEDULED, "", sent.append) == [(Sending.SENT, False)] * 2


class _Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as one message takes."""

    def handle(self) -> None:
        self._say("220 here")
        to, text = "", ""
        for line in iter(self.rfile.readline, b""):
            word = line.decode().strip()
            if word.upper().startswith("RCPT"):
                to = word.partition(":")[2]
            if word.upper() == "DATA":
                self._say("354 go on")
                text = "".join(one.decode() for one in iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append((to, text))  # type: ignore[attr-defined]
            self._say("221 bye" if word.upper() == "QUIT" else "250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def mail_server() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        server.mails = []  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"smtp://127.0.0.1:{server.server_address[1]}", server.mails  # type: ignore[attr-defined]
        server.shutdown()
